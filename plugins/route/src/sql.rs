//! From SQL to a typed expression: names found, types agreed, constants read, all when the pipeline starts.

use millstream_sdk::prelude::*;
use sqlparser::ast::{BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments};
use sqlparser::ast::{TypedString, UnaryOperator, Value};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use crate::expression::{Arithmetic, Comparison, Kind, Node, Scalar, TextFunction};
use crate::like::Pattern;
use crate::literal;

/// What error messages say is there.
const KNOWN: &str = "AND, OR, NOT, = <> < <= > >=, IS [NOT] NULL, IS [NOT] TRUE/FALSE, [NOT] IN (..), [NOT] BETWEEN, \
                     [NOT] LIKE/ILIKE, + - * / %, lower, upper, trim, length, starts_with, ends_with, contains";

/// Deeper parentheses are refused: nothing that a person writes needs them.
const MOST_DEPTH: usize = 50;

/// Longer chains of operators are refused: each is one level of a tree, and each level takes stack.
const MOST_LEVELS: usize = 200;

/// A longer expression is refused before it is read.
const MOST_BYTES: usize = 16_384;

/// What is wrong with an expression.
type Wrong = String;

/// Reads expressions, and gathers the columns that they read.
pub struct Reader<'a> {
    given: &'a Given,
    reads: Vec<Field>,
    levels: usize,
}

/// An expression with its kind; a bare `NULL` has none.
struct Typed {
    node: Node,
    kind: Option<Kind>,
}

impl Typed {
    fn new(node: Node, kind: Kind) -> Self {
        Self { node, kind: Some(kind) }
    }

    fn boolean(node: Node) -> Self {
        Self::new(node, Kind::Bool)
    }
}

impl<'a> Reader<'a> {
    /// No column is read yet.
    pub fn new(given: &'a Given) -> Self {
        Self { given, reads: Vec::new(), levels: 0 }
    }

    /// The columns that expressions read.
    pub fn into_reads(self) -> Vec<Field> {
        self.reads
    }

    /// An expression that is true, false or null.
    pub fn condition(&mut self, sql: &str) -> Result<Node, Wrong> {
        let wrong = |error: sqlparser::parser::ParserError| {
            let said = error.to_string();
            let said = said.split_once("parser error: ").map_or(said.as_str(), |(_, said)| said);
            format!("`{sql}` is no expression: {said}")
        };
        if sql.len() > MOST_BYTES {
            return Err(format!("it has {} bytes, and may have {MOST_BYTES}: use further rules", sql.len()));
        }
        let parser = Parser::new(&GenericDialect {}).with_recursion_limit(MOST_DEPTH);
        let mut parser = parser.try_with_sql(sql).map_err(wrong)?;
        let expression = parser.parse_expr().map_err(wrong)?;
        let behind = parser.peek_token();
        if behind.token != Token::EOF {
            return Err(format!("`{behind}` stands behind the expression"));
        }
        self.boolean(&expression)
    }

    fn boolean(&mut self, expression: &Expr) -> Result<Node, Wrong> {
        match self.read(expression)? {
            Typed { node, kind: None | Some(Kind::Bool) } => Ok(node),
            Typed { kind: Some(kind), .. } => Err(format!("`{expression}` is {kind}; a condition is true or false")),
        }
    }

    fn read(&mut self, expression: &Expr) -> Result<Typed, Wrong> {
        if self.levels == MOST_LEVELS {
            return Err(format!("it is nested deeper than {MOST_LEVELS}: use IN (..), or further rules"));
        }
        self.levels += 1;
        let typed = self.read_level(expression);
        self.levels -= 1;
        typed
    }

    fn read_level(&mut self, expression: &Expr) -> Result<Typed, Wrong> {
        let boxed = |node: Node| Box::new(node);
        match expression {
            Expr::Nested(inner) => self.read(inner),
            Expr::Identifier(name) => self.column(&name.value),
            Expr::CompoundIdentifier(_) => {
                Err(format!("`{expression}`: columns have no dots; fields of structs cannot be read"))
            }
            Expr::Value(value) => constant(&value.value),
            Expr::TypedString(TypedString { value, .. }) => constant(&value.value),
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => Ok(Typed::boolean(Node::Not(boxed(self.boolean(expr)?)))),
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => self.negative(expr),
            Expr::UnaryOp { op: UnaryOperator::Plus, expr } => self.read(expr),
            Expr::IsNull(inner) => self.is_null(inner),
            Expr::IsNotNull(inner) => Ok(Typed::boolean(Node::Not(boxed(self.is_null(inner)?.node)))),
            Expr::IsTrue(inner) => Ok(Typed::boolean(Node::Is(boxed(self.boolean(inner)?), true))),
            Expr::IsFalse(inner) => Ok(Typed::boolean(Node::Is(boxed(self.boolean(inner)?), false))),
            Expr::IsNotTrue(inner) => Ok(Typed::boolean(Node::Not(boxed(Node::Is(boxed(self.boolean(inner)?), true))))),
            Expr::IsNotFalse(inner) => {
                Ok(Typed::boolean(Node::Not(boxed(Node::Is(boxed(self.boolean(inner)?), false)))))
            }
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right),
            Expr::Between { expr, negated, low, high } => {
                let least = self.compare(expr, Comparison::GreaterOrEqual, low)?;
                let most = self.compare(expr, Comparison::LessOrEqual, high)?;
                Ok(negated_if(*negated, Node::And(boxed(least), boxed(most))))
            }
            Expr::InList { expr, list, negated } => {
                let node = self.among(expr, list)?;
                Ok(negated_if(*negated, node))
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char: None } => {
                let node = self.like(expr, pattern, |pattern| Pattern::like(&pattern, true))?;
                Ok(negated_if(*negated, node))
            }
            Expr::ILike { negated, any: false, expr, pattern, escape_char: None } => {
                let node = self.like(expr, pattern, |pattern| Pattern::like(&pattern, false))?;
                Ok(negated_if(*negated, node))
            }
            Expr::Trim { trim_where: None, trim_what: None, expr, trim_characters: None } => {
                self.text_function(TextFunction::Trim, expr)
            }
            Expr::Function(function) => self.function(function),
            other => Err(format!("`{other}` is not supported; there are {KNOWN}")),
        }
    }

    /// The number of a column among those that are read.
    fn index(&mut self, name: &str) -> Result<usize, Wrong> {
        if let Some(index) = self.reads.iter().position(|field| field.name == name) {
            return Ok(index);
        }
        let Some(field) = self.given.column(name) else {
            let names: Vec<&str> = self.given.columns.iter().map(|field| field.name.as_str()).collect();
            let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(format!(
                "no column `{name}` reaches the stage; the columns there are: {there} (text stands between single quotes)"
            ));
        };
        self.reads.push(field.clone());
        Ok(self.reads.len() - 1)
    }

    fn column(&mut self, name: &str) -> Result<Typed, Wrong> {
        let index = self.index(name)?;
        let logical = &self.reads[index].logical;
        match Kind::of(logical) {
            Some(kind) => Ok(Typed::new(Node::Column(index), kind)),
            None => Err(format!("column `{name}` is {logical}: only IS NULL and IS NOT NULL can be asked of it")),
        }
    }

    /// `IS NULL`, also of columns that nothing else can be asked of.
    fn is_null(&mut self, inner: &Expr) -> Result<Typed, Wrong> {
        if let Expr::Identifier(name) = inner {
            return Ok(Typed::boolean(Node::IsNullColumn(self.index(&name.value)?)));
        }
        Ok(Typed::boolean(Node::IsNull(Box::new(self.read(inner)?.node))))
    }

    fn negative(&mut self, inner: &Expr) -> Result<Typed, Wrong> {
        if let Expr::Value(value) = inner
            && let Value::Number(text, _) = &value.value
        {
            let (scalar, kind) = literal::number(&format!("-{text}"))?;
            return Ok(Typed::new(Node::Constant(scalar), kind));
        }
        let zero = Typed::new(Node::Constant(Scalar::Int(0)), Kind::Int);
        let inner = self.read(inner)?;
        calculate(Arithmetic::Subtract, zero, inner)
    }

    fn binary(&mut self, left: &Expr, op: &BinaryOperator, right: &Expr) -> Result<Typed, Wrong> {
        let comparison = match op {
            BinaryOperator::And | BinaryOperator::Or => {
                let (left, right) = (Box::new(self.boolean(left)?), Box::new(self.boolean(right)?));
                let is_and = *op == BinaryOperator::And;
                return Ok(Typed::boolean(if is_and { Node::And(left, right) } else { Node::Or(left, right) }));
            }
            BinaryOperator::Eq => Comparison::Equal,
            BinaryOperator::NotEq => Comparison::NotEqual,
            BinaryOperator::Lt => Comparison::Less,
            BinaryOperator::LtEq => Comparison::LessOrEqual,
            BinaryOperator::Gt => Comparison::Greater,
            BinaryOperator::GtEq => Comparison::GreaterOrEqual,
            other => {
                let arithmetic = match other {
                    BinaryOperator::Plus => Arithmetic::Add,
                    BinaryOperator::Minus => Arithmetic::Subtract,
                    BinaryOperator::Multiply => Arithmetic::Multiply,
                    BinaryOperator::Divide => Arithmetic::Divide,
                    BinaryOperator::Modulo => Arithmetic::Remainder,
                    _ => return Err(format!("`{other}` is not supported; there are {KNOWN}")),
                };
                let (left, right) = (self.read(left)?, self.read(right)?);
                return calculate(arithmetic, left, right);
            }
        };
        Ok(Typed::boolean(self.compare(left, comparison, right)?))
    }

    fn compare(&mut self, left: &Expr, comparison: Comparison, right: &Expr) -> Result<Node, Wrong> {
        let (one, other) = (self.read(left)?, self.read(right)?);
        let (one, other) =
            agree(one, other).map_err(|why| format!("`{left}` cannot be compared with `{right}`: {why}"))?;
        // Constants stand on the right, where they cost least.
        Ok(match (&one, &other) {
            (Node::Constant(_), Node::Column(_)) => Node::Compare(comparison.mirrored(), other.into(), one.into()),
            _ => Node::Compare(comparison, one.into(), other.into()),
        })
    }

    fn among(&mut self, value: &Expr, list: &[Expr]) -> Result<Node, Wrong> {
        let mut equals = Vec::with_capacity(list.len());
        let (mut null, mut compared) = (false, None);
        for item in list {
            let node = self.compare(value, Comparison::Equal, item)?;
            let Node::Compare(_, one, other) = node else { return Err(format!("`{item}` cannot stand in a list")) };
            match *other {
                Node::Constant(Scalar::Null) => null = true,
                Node::Constant(scalar) => equals.push((*one.clone(), scalar)),
                _ => return Err(format!("`{item}` in a list is no constant: use OR")),
            }
            compared.get_or_insert(*one);
        }
        let Some(value) = compared else { return Err("an empty list: nothing is in it".to_owned()) };
        // Constants that need another kind of value (1 and 1.5) are compared each by itself.
        if equals.iter().all(|(one, _)| *one == value) {
            let list = equals.into_iter().map(|(_, scalar)| scalar).collect();
            return Ok(Node::In { value: value.into(), list, null });
        }
        let first = Node::Constant(if null { Scalar::Null } else { Scalar::Bool(false) });
        Ok(equals.into_iter().fold(first, |all, (one, scalar)| {
            let equal = Node::Compare(Comparison::Equal, one.into(), Node::Constant(scalar).into());
            Node::Or(all.into(), equal.into())
        }))
    }

    fn text(&mut self, expression: &Expr) -> Result<Node, Wrong> {
        match self.read(expression)? {
            Typed { node, kind: Some(Kind::Text) } => Ok(node),
            Typed { kind, .. } => {
                let kind = kind.map_or_else(|| "null".to_owned(), |kind| kind.to_string());
                Err(format!("`{expression}` is {kind}; text is needed"))
            }
        }
    }

    fn like(&mut self, text: &Expr, pattern: &Expr, make: impl FnOnce(String) -> Pattern) -> Result<Node, Wrong> {
        let node = self.text(text)?;
        match self.read(pattern)?.node {
            Node::Constant(Scalar::Text(pattern)) => Ok(Node::Like(node.into(), make(pattern))),
            _ => Err(format!("`{pattern}` is no constant: write the text that is looked for between single quotes")),
        }
    }

    fn text_function(&mut self, function: TextFunction, argument: &Expr) -> Result<Typed, Wrong> {
        Ok(Typed::new(Node::Text(function, self.text(argument)?.into()), Kind::Text))
    }

    fn function(&mut self, function: &Function) -> Result<Typed, Wrong> {
        let name = function.name.to_string().to_ascii_lowercase();
        let arguments =
            arguments(function).ok_or_else(|| format!("`{function}` is not supported; there are {KNOWN}"))?;
        match (name.as_str(), arguments.as_slice()) {
            ("lower", [text]) => self.text_function(TextFunction::Lower, text),
            ("upper", [text]) => self.text_function(TextFunction::Upper, text),
            ("trim", [text]) => self.text_function(TextFunction::Trim, text),
            ("length", [text]) => Ok(Typed::new(Node::Length(self.text(text)?.into()), Kind::Int)),
            ("starts_with", [text, start]) => Ok(Typed::boolean(self.like(text, start, Pattern::starts)?)),
            ("ends_with", [text, end]) => Ok(Typed::boolean(self.like(text, end, Pattern::ends)?)),
            ("contains", [text, part]) => Ok(Typed::boolean(self.like(text, part, Pattern::contains)?)),
            _ => Err(format!("there is no function `{function}`; there are {KNOWN}")),
        }
    }
}

/// The arguments of a plain call.
fn arguments(function: &Function) -> Option<Vec<&Expr>> {
    let Function { args: FunctionArguments::List(list), over: None, filter: None, .. } = function else { return None };
    let argument = |argument| match argument {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expression)) => Some(expression),
        _ => None,
    };
    list.args.iter().map(argument).collect()
}

fn negated_if(negated: bool, node: Node) -> Typed {
    Typed::boolean(if negated { Node::Not(node.into()) } else { node })
}

fn constant(value: &Value) -> Result<Typed, Wrong> {
    let (scalar, kind) = match value {
        Value::Null => return Ok(Typed { node: Node::Constant(Scalar::Null), kind: None }),
        Value::Boolean(value) => (Scalar::Bool(*value), Kind::Bool),
        Value::Number(text, _) => literal::number(text)?,
        Value::SingleQuotedString(text) => (Scalar::Text(text.clone()), Kind::Text),
        other => return Err(format!("`{other}` is no constant that is known: text stands between single quotes")),
    };
    Ok(Typed::new(Node::Constant(scalar), kind))
}

/// Makes both sides values of one kind.
fn agree(one: Typed, other: Typed) -> Result<(Node, Node), Wrong> {
    let (Some(left), Some(right)) = (one.kind, other.kind) else { return Ok((one.node, other.node)) };
    match (left, right) {
        (left, right) if left == right => Ok((one.node, other.node)),
        (left, right) if left.is_number() && right.is_number() => {
            let kind = common(left, right);
            Ok((as_number(one.node, left, kind)?, as_number(other.node, right, kind)?))
        }
        (Kind::Text, kind @ (Kind::Date | Kind::Timestamp(_))) => Ok((as_instant(one.node, kind)?, other.node)),
        (kind @ (Kind::Date | Kind::Timestamp(_)), Kind::Text) => Ok((one.node, as_instant(other.node, kind)?)),
        (left, right) => Err(format!("one is {left}, the other {right}")),
    }
}

/// The kind in which two numbers are compared without loss; with a float it is a float.
fn common(one: Kind, other: Kind) -> Kind {
    match (one, other) {
        (Kind::Float, _) | (_, Kind::Float) => Kind::Float,
        (Kind::Decimal(one), Kind::Decimal(other)) => Kind::Decimal(one.max(other)),
        (Kind::Decimal(scale), _) | (_, Kind::Decimal(scale)) => Kind::Decimal(scale),
        _ => Kind::Int,
    }
}

fn as_number(node: Node, from: Kind, to: Kind) -> Result<Node, Wrong> {
    let scale = if let Kind::Decimal(scale) = from { scale } else { 0 };
    match (to, node) {
        (to, node) if from == to => Ok(node),
        (Kind::Float, Node::Constant(Scalar::Int(value))) => Ok(Node::Constant(Scalar::Float(value as f64))),
        (Kind::Float, Node::Constant(Scalar::Decimal(value))) => {
            // Through its text: the float that is nearest to what was written.
            let text = format!("{value}e-{scale}");
            let value = text.parse().map_err(|_| format!("`{text}` is no number that fits"))?;
            Ok(Node::Constant(Scalar::Float(value)))
        }
        (Kind::Float, node) => Ok(Node::ToFloat(node.into(), scale)),
        (Kind::Decimal(wanted), node) => {
            let power = 10_i128.checked_pow(u32::from(wanted - scale));
            let power = power.ok_or_else(|| "their scales are too far apart".to_owned())?;
            let scaled = |value: i128| value.checked_mul(power).ok_or_else(|| "a constant is too large".to_owned());
            match node {
                Node::Constant(Scalar::Int(value)) => Ok(Node::Constant(Scalar::Decimal(scaled(value.into())?))),
                Node::Constant(Scalar::Decimal(value)) => Ok(Node::Constant(Scalar::Decimal(scaled(value)?))),
                node => Ok(Node::ToDecimal(node.into(), power)),
            }
        }
        (_, node) => Ok(node),
    }
}

fn as_instant(node: Node, kind: Kind) -> Result<Node, Wrong> {
    match node {
        Node::Constant(Scalar::Text(text)) => Ok(Node::Constant(literal::instant(&text, kind)?)),
        _ => Err(format!("one is text, the other {kind}")),
    }
}

fn calculate(arithmetic: Arithmetic, one: Typed, other: Typed) -> Result<Typed, Wrong> {
    let (Some(left), Some(right)) = (one.kind, other.kind) else {
        return Err("NULL cannot be calculated with".to_owned());
    };
    if !left.is_number() || !right.is_number() {
        return Err(format!("numbers are calculated with, and one is {left}, the other {right}"));
    }
    let whole = left == Kind::Int && right == Kind::Int && arithmetic != Arithmetic::Divide;
    let kind = if whole { Kind::Int } else { Kind::Float };
    let (one, other) = (as_number(one.node, left, kind)?, as_number(other.node, right, kind)?);
    Ok(Typed::new(Node::Calculate(arithmetic, one.into(), other.into()), kind))
}
