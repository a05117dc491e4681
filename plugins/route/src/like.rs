//! `LIKE` and what is like it, matched in the cheapest way that a pattern allows.

/// What text is compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    shape: Shape,
    /// Whether case counts; if not, the shape is in lower case.
    exact_case: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Equals(String),
    Starts(String),
    Ends(String),
    Contains(String),
    Any(Vec<Piece>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Piece {
    /// `%`: any text.
    Many,
    /// `_`: any character.
    One,
    /// This character.
    Char(char),
}

impl Pattern {
    /// `starts_with(x, text)`
    pub fn starts(text: String) -> Self {
        Self { shape: Shape::Starts(text), exact_case: true }
    }

    /// `ends_with(x, text)`
    pub fn ends(text: String) -> Self {
        Self { shape: Shape::Ends(text), exact_case: true }
    }

    /// `contains(x, text)`
    pub fn contains(text: String) -> Self {
        Self { shape: Shape::Contains(text), exact_case: true }
    }

    /// `x LIKE pattern` and, without case, `x ILIKE pattern`.
    pub fn like(pattern: &str, exact_case: bool) -> Self {
        let pattern = if exact_case { pattern.to_owned() } else { pattern.to_lowercase() };
        let plain = |text: &str| !text.contains(['%', '_']);
        let inner = pattern.strip_prefix('%').and_then(|rest| rest.strip_suffix('%'));
        let shape = match (inner, pattern.strip_suffix('%'), pattern.strip_prefix('%')) {
            _ if plain(&pattern) => Shape::Equals(pattern),
            (Some(text), ..) if plain(text) => Shape::Contains(text.to_owned()),
            (_, Some(text), _) if plain(text) => Shape::Starts(text.to_owned()),
            (.., Some(text)) if plain(text) => Shape::Ends(text.to_owned()),
            _ => Shape::Any(pattern.chars().map(Piece::of).collect()),
        };
        Self { shape, exact_case }
    }

    /// Whether [`matches_bytes`](Self::matches_bytes) can tell.
    pub fn is_of_bytes(&self) -> bool {
        self.exact_case && matches!(self.shape, Shape::Equals(_) | Shape::Starts(_) | Shape::Ends(_))
    }

    /// Whether a text's bytes match; only for patterns that are of bytes.
    #[inline]
    pub fn matches_bytes(&self, text: &[u8]) -> bool {
        match &self.shape {
            Shape::Equals(other) => same(text, other.as_bytes()),
            Shape::Starts(start) => text.get(..start.len()).is_some_and(|begin| same(begin, start.as_bytes())),
            Shape::Ends(end) => {
                let from = text.len().checked_sub(end.len());
                from.is_some_and(|from| same(&text[from..], end.as_bytes()))
            }
            Shape::Contains(_) | Shape::Any(_) => false,
        }
    }

    /// Whether a text matches.
    #[inline]
    pub fn matches(&self, text: &str) -> bool {
        let is_lower = || text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
        if self.exact_case || is_lower() { self.shape.matches(text) } else { self.shape.matches(&text.to_lowercase()) }
    }
}

/// Whether texts are the same. The constants of rules are short, and for these a loop is quicker than a call.
#[inline(always)]
pub fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one == other)
}

impl Piece {
    fn of(c: char) -> Self {
        match c {
            '%' => Self::Many,
            '_' => Self::One,
            c => Self::Char(c),
        }
    }
}

impl Shape {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Equals(other) => text == other,
            Self::Starts(start) => text.starts_with(start.as_str()),
            Self::Ends(end) => text.ends_with(end.as_str()),
            Self::Contains(part) => text.contains(part.as_str()),
            Self::Any(pieces) => matches_pieces(text, pieces),
        }
    }
}

/// A `%` takes nothing at first, and one character more each time that what stands behind it does not match; only the last
/// `%` ever has to: so the time is at most that of text times pattern.
fn matches_pieces(text: &str, pieces: &[Piece]) -> bool {
    let (mut rest, mut at) = (text.chars(), 0);
    let mut again = None;
    loop {
        match pieces.get(at) {
            Some(Piece::Many) => {
                at += 1;
                again = Some((at, rest.clone()));
                continue;
            }
            None if rest.as_str().is_empty() => return true,
            piece => {
                let mut ahead = rest.clone();
                let next = ahead.next();
                let fits = match (piece, next) {
                    (Some(Piece::Char(wanted)), Some(found)) => *wanted == found,
                    (Some(Piece::One), Some(_)) => true,
                    _ => false,
                };
                if fits {
                    rest = ahead;
                    at += 1;
                    continue;
                }
            }
        }
        let Some((behind, from)) = &mut again else { return false };
        if from.next().is_none() {
            return false;
        }
        at = *behind;
        rest = from.clone();
    }
}
