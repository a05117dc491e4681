//! A plugin's name in the three forms in which templates have it: `my-plugin`, `my_plugin`, `MyPlugin`.

use crate::error::{Error, ErrorKind, Result};

/// The most characters of a name.
const MOST_CHARACTERS: usize = 64;

/// Words that are no name of a crate.
const RESERVED: [&str; 52] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "virtual",
    "where",
];
/// Names of the SDK and of the templates that the plugin's own type would collide with.
const TAKEN: [&str; 26] = [
    "Batch",
    "Cleaned",
    "Column",
    "Config",
    "ConfigError",
    "Contract",
    "Cow",
    "Date",
    "Decimal",
    "Emit",
    "Event",
    "Failure",
    "Field",
    "Given",
    "Input",
    "LogicalType",
    "Lookup",
    "Order",
    "Output",
    "Patch",
    "Reject",
    "Route",
    "Routes",
    "Stage",
    "To",
    "Transform",
];

/// A plugin's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// As it was given: the package.
    pub package: String,
    /// The crate and the component.
    pub snake: String,
    /// The type.
    pub camel: String,
}

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// `Config` for what is no name of a package.
    pub fn new(package: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Err(Error::new(ErrorKind::Config, format!("\"{package}\" is no name for a plugin: {why}"))
                .help("such as `clean-links`: lower-case letters, digits and hyphens, a letter first"))
        };
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if let Some(other) = package.chars().find(|c| !allowed(*c)) {
            return wrong(&format!("it has a `{other}`"));
        }
        if !package.starts_with(|c: char| c.is_ascii_lowercase()) {
            return wrong("it does not start with a letter");
        }
        if package.len() > MOST_CHARACTERS {
            return wrong(&format!("it is longer than {MOST_CHARACTERS} characters"));
        }
        let snake = package.replace('-', "_");
        let camel: String = snake.split('_').map(capitalized).collect();
        if RESERVED.contains(&snake.as_str()) || package == "millstream-sdk" {
            return wrong("the word has a meaning of its own in Rust");
        }
        if TAKEN.contains(&camel.as_str()) {
            return wrong(&format!("`{camel}` is a name of the SDK"));
        }
        Ok(Self { package: package.to_owned(), snake, camel })
    }

    /// Puts the name in the place of a template's.
    pub fn fill_in(&self, text: &str) -> String {
        text.replace("my-plugin", &self.package).replace("my_plugin", &self.snake).replace("MyPlugin", &self.camel)
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_three_forms() {
        let name = Name::new("clean-links2").unwrap();
        assert_eq!(name.fill_in("my-plugin my_plugin MyPlugin"), "clean-links2 clean_links2 CleanLinks2");
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_reason() {
        for (name, why) in [
            ("", "it does not start with a letter"),
            ("2much", "it does not start with a letter"),
            ("Clean", "it has a `C`"),
            ("a b", "it has a ` `"),
            ("match", "the word has a meaning of its own in Rust"),
            ("config", "`Config` is a name of the SDK"),
            ("to", "`To` is a name of the SDK"),
        ] {
            assert_eq!(
                Name::new(name).unwrap_err().message(),
                format!("\"{name}\" is no name for a plugin: {why}"),
                "{name}"
            );
        }
    }
}
