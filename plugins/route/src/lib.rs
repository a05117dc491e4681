//! Ready-made stage `route`: rows to outputs by rules, each an SQL expression over columns. docs/ready-made.md has the
//! table of keys and what an expression may say.
//!
//! Expressions are read by sqlparser, the parser of Apache DataFusion, and typed against the columns that reach the stage
//! when the pipeline starts; then a rule works on a whole batch, column by column, and on text once per distinct value.
//! Why SQL, and why no interpreter of the field does the second half: docs/ready-made.md.

mod evaluate;
mod expression;
mod like;
mod literal;
mod select;
mod sql;
mod text;

use millstream_sdk::columnwise::Fates;
use millstream_sdk::prelude::*;

use evaluate::Frame;
use expression::Node;
use sql::Reader;

/// The stage's table in the pipeline file.
#[config]
pub struct Config {
    /// The rules, in order.
    rules: Vec<Rule>,
    /// `"first"` (default): a row goes where the first rule that is true sends it. `"all"`: to the outputs of all rules that are.
    #[serde(default, rename = "match")]
    matching: Matching,
    /// The output of rows for which no rule is true.
    default: Option<String>,
    /// Without `default`: such rows are rejected as `no_rule` (`"reject"`, the default) or filtered as `no_rule` (`"filter"`).
    unmatched: Option<Unmatched>,
}

/// A rule: an expression, and one of `to`, `filter` and `reject`.
#[config]
pub struct Rule {
    /// The expression: `"kind = 'purchase' AND amount >= 100"`.
    when: String,
    /// The output of rows for which it is true.
    to: Option<String>,
    /// They are filtered, counted by this reason. Only with `match = "first"`.
    filter: Option<String>,
    /// They are rejected with this reason. Only with `match = "first"`.
    reject: Option<String>,
}

/// Which rules count.
#[config]
#[derive(Clone, Copy, Default, PartialEq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Matching {
    /// The first that is true.
    #[default]
    First,
    /// All that are true.
    All,
}

/// What becomes of rows without a rule.
#[config]
#[derive(Clone, Copy, Default, PartialEq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Unmatched {
    /// They are rejected.
    #[default]
    Reject,
    /// They are filtered.
    Filter,
}

/// Where a rule sends rows.
#[derive(Clone, Debug, PartialEq)]
enum To {
    Output(u16),
    Filter(String),
    Reject(String),
}

/// The reason of rows that no rule is true for.
const NO_RULE: &str = "no_rule";

/// Rules are looked at one by one for each batch.
const MOST_RULES: usize = 256;

/// The stage.
pub struct RouteStage {
    reads: Vec<Field>,
    rules: Vec<(Node, To)>,
    matching: Matching,
    otherwise: To,
}

impl Stage for RouteStage {
    type Config = Config;

    fn configure(config: Config, given: &Given) -> Result<(Self, Contract), ConfigError> {
        if config.rules.is_empty() || config.rules.len() > MOST_RULES {
            let message = format!("1 to {MOST_RULES} rules: rules = [{{ when = \"kind = 'view'\", to = \"views\" }}]");
            return Err(ConfigError::key("rules", message));
        }
        let mut outputs = Outputs { given, names: Vec::new() };
        let mut reader = Reader::new(given);
        let mut rules = Vec::with_capacity(config.rules.len());
        for (index, rule) in config.rules.into_iter().enumerate() {
            let key = format!("rules[{index}]");
            let condition = reader.condition(&rule.when);
            let condition = condition.map_err(|message| ConfigError::key(format!("{key}.when"), message))?;
            rules.push((condition, destination(&key, rule, config.matching, &mut outputs)?));
        }
        let otherwise = match (config.default, config.unmatched) {
            (Some(_), Some(_)) => {
                let message = "with `default` every row has an output: take one of the two away";
                return Err(ConfigError::key("unmatched", message));
            }
            (Some(output), None) => To::Output(outputs.index("default", output)?),
            (None, Some(Unmatched::Filter)) => To::Filter(NO_RULE.to_owned()),
            (None, _) => To::Reject(NO_RULE.to_owned()),
        };
        if outputs.names.is_empty() {
            return Err(ConfigError::key("rules", "no rule has an output: `to` names one that others read from"));
        }
        let reads = reader.into_reads();
        let contract = Contract { reads: reads.clone(), outputs: outputs.names, ..Contract::default() };
        Ok((Self { reads, rules, matching: config.matching, otherwise }, contract))
    }

    fn process(&mut self, batch: Batch) -> Result<Patch, Failure> {
        let frame = Frame::load(&self.reads, &batch)?;
        match self.matching {
            Matching::First => Ok(self.first(&frame)),
            Matching::All => Ok(self.all(&frame)),
        }
    }
}

/// Where a rule sends its rows.
fn destination(key: &str, rule: Rule, matching: Matching, outputs: &mut Outputs<'_>) -> Result<To, ConfigError> {
    let reason = |part: &str, reason: String| match matching {
        Matching::All => {
            let message = "it needs match = \"first\": with \"all\", other rules may be true for the same row";
            Err(ConfigError::key(format!("{key}.{part}"), message))
        }
        Matching::First if reason.is_empty() => {
            Err(ConfigError::key(format!("{key}.{part}"), "it is a short word that rows are counted by: \"bot\""))
        }
        Matching::First => Ok(reason),
    };
    match (rule.to, rule.filter, rule.reject) {
        (Some(output), None, None) => Ok(To::Output(outputs.index(&format!("{key}.to"), output)?)),
        (None, Some(word), None) => Ok(To::Filter(reason("filter", word)?)),
        (None, None, Some(word)) => Ok(To::Reject(reason("reject", word)?)),
        _ => Err(ConfigError::key(key, "a rule has one of `to`, `filter` and `reject`")),
    }
}

/// The outputs that rules name, in the order in which they are named first.
struct Outputs<'a> {
    given: &'a Given,
    names: Vec<String>,
}

impl Outputs<'_> {
    /// The number of an output; fails when nobody reads it.
    fn index(&mut self, key: &str, name: String) -> Result<u16, ConfigError> {
        if !self.given.outputs.contains(&name) {
            let read = if self.given.outputs.is_empty() { "none".to_owned() } else { self.given.outputs.join(", ") };
            let message = format!(
                "nobody reads output `{name}`; those that are read: {read}. Read it (from = \"STAGE.{name}\"), or use `filter` for rows that nobody wants"
            );
            return Err(ConfigError::key(key, message));
        }
        let index = self.names.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        });
        u16::try_from(index).map_err(|_| ConfigError::key(key, "there are too many outputs"))
    }
}

/// A row that no rule was true for so far.
const NOWHERE: u16 = u16::MAX;

impl RouteStage {
    /// Each row by the first rule that is true.
    fn first(&self, frame: &Frame<'_>) -> Patch {
        let rows = frame.rows();
        let mut rule_of_row = vec![NOWHERE; rows];
        let mut open = frame.all_rows();
        for (index, (condition, _)) in (0_u16..).zip(&self.rules) {
            let decided = frame.select(condition, &open);
            decided.iter().for_each(|row| rule_of_row[*row as usize] = index);
            if !decided.is_empty() {
                open.retain(|row| rule_of_row[*row as usize] == NOWHERE);
            }
        }
        let mut fates = Fates::new(rows as u32);
        let (mut kept, mut outputs) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        for (row, rule) in (0_u32..).zip(rule_of_row) {
            let to = if rule == NOWHERE { &self.otherwise } else { &self.rules[usize::from(rule)].1 };
            match to {
                To::Output(output) => {
                    kept.push(row);
                    outputs.push(*output);
                }
                to => leave(&mut fates, row, to),
            }
        }
        let kept = (!fates.all_kept()).then_some(kept);
        fates.finish_rows(kept, Vec::new(), outputs)
    }

    /// Each row to the outputs of all rules that are true, once to each.
    fn all(&self, frame: &Frame<'_>) -> Patch {
        let rows = frame.all_rows();
        let mut outputs_of_row: Vec<Vec<u16>> = vec![Vec::new(); frame.rows()];
        for (condition, to) in &self.rules {
            let To::Output(output) = to else { continue };
            for row in frame.select(condition, &rows) {
                let outputs = &mut outputs_of_row[row as usize];
                if !outputs.contains(output) {
                    outputs.push(*output);
                }
            }
        }
        let mut fates = Fates::new(frame.rows() as u32);
        let (mut kept, mut outputs) = (Vec::with_capacity(frame.rows()), Vec::with_capacity(frame.rows()));
        for (row, mut row_outputs) in (0_u32..).zip(outputs_of_row) {
            match &self.otherwise {
                To::Output(output) if row_outputs.is_empty() => row_outputs.push(*output),
                to if row_outputs.is_empty() => leave(&mut fates, row, to),
                _ => {}
            }
            kept.extend(std::iter::repeat_n(row, row_outputs.len()));
            outputs.append(&mut row_outputs);
        }
        fates.finish_rows(Some(kept), Vec::new(), outputs)
    }
}

/// A row that goes to no output.
fn leave(fates: &mut Fates, row: u32, to: &To) {
    match to {
        To::Filter(reason) => fates.filter(row, reason),
        // The reason says it all: it is the rule's own word.
        To::Reject(reason) => fates.reject(row, reason, ""),
        To::Output(_) => {}
    }
}

millstream_sdk::export!(RouteStage);

#[cfg(test)]
mod tests;
