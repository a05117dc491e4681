//! The directory of pipeline files: `tests/pipelines/wrong` with all problems as they are shown, `right` with the drawn
//! plan. Comments in a file may say `# set: KEY=VALUE` and `# env: NAME=VALUE`; `NAME.contracts.json` beside it has the
//! tables and what each stage's plugin declares. `UPDATE_SNAPSHOTS=1` writes the expected texts anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::config::{self, Pipeline, Problems, Stage};
use crate::contract::{DeclaredLookup, Table};

/// Relative, as cargo runs tests in the package's folder: so the snapshots name no folder of this machine.
const FOLDER: &str = "../tests/pipelines";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contracts {
    tables: BTreeMap<String, TableText>,
    stages: BTreeMap<String, StageText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableText {
    key: serde_json::Map<String, serde_json::Value>,
    columns: serde_json::Map<String, serde_json::Value>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StageText {
    reads: serde_json::Map<String, serde_json::Value>,
    lookups: Vec<LookupText>,
    writes: serde_json::Map<String, serde_json::Value>,
    outputs: Vec<String>,
    digest: String,
    refuses: Option<String>,
    missing: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LookupText {
    table: String,
    key: Vec<String>,
    columns: serde_json::Map<String, serde_json::Value>,
}

fn columns(texts: &serde_json::Map<String, serde_json::Value>) -> Vec<Column> {
    let column = |(name, text): (&String, &serde_json::Value)| {
        let nested: millstream_sdk::Nested = text.as_str().expect("a type").parse().expect("a type");
        Column { name: name.clone(), logical: nested.logical, nullable: nested.nullable }
    };
    texts.iter().map(column).collect()
}

fn table((name, text): (&String, &TableText)) -> Table {
    Table { name: name.clone(), key: columns(&text.key), columns: columns(&text.columns) }
}

fn contract(text: &StageText) -> Contract {
    let lookup = |lookup: &LookupText| DeclaredLookup {
        table: lookup.table.clone(),
        key: lookup.key.clone(),
        columns: columns(&lookup.columns),
    };
    Contract {
        reads: columns(&text.reads),
        lookups: text.lookups.iter().map(lookup).collect(),
        writes: columns(&text.writes),
        outputs: text.outputs.clone(),
    }
}

fn configure(contracts: &Contracts, stage: &Stage) -> Result<(Arc<str>, Contract), Refused> {
    let text = contracts.stages.get(&stage.name.value).expect("the stage stands in contracts.json");
    match (&text.missing, &text.refuses) {
        (Some(message), _) => Err(Refused::File(message.clone())),
        (_, Some(message)) => Err(Refused::Config(message.clone())),
        _ => Ok((format!("{:0<64}", text.digest).into(), contract(text))),
    }
}

fn marked(text: &str, mark: &str) -> Vec<(String, String)> {
    let values = text.lines().filter_map(|line| line.strip_prefix(mark)?.split_once('='));
    values.map(|(key, value)| (key.trim().to_owned(), value.to_owned())).collect()
}

fn read(path: &Path) -> Result<Pipeline, Problems> {
    let text = fs::read_to_string(path).expect("the file");
    let environment = marked(&text, "# env: ");
    let lookup = |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    config::read(path, &marked(&text, "# set: "), &lookup)
}

fn contracts(path: &Path) -> Contracts {
    match fs::read_to_string(path.with_extension("contracts.json")) {
        Ok(text) => serde_json::from_str(&text).expect("contracts"),
        Err(_) => Contracts::default(),
    }
}

fn built(path: &Path) -> Result<(Pipeline, Planned), Problems> {
    let contracts = contracts(path);
    let pipeline = read(path)?;
    let tables: Vec<Table> = contracts.tables.iter().map(table).collect();
    let planned = build(&pipeline, &tables, 1, &mut |stage, _| configure(&contracts, stage))?;
    Ok((pipeline, planned))
}

fn pipelines(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(FOLDER).join(folder)).expect("the folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    assert!(!paths.is_empty(), "no pipeline files in {folder}");
    paths
}

/// Compares with the text beside the file; all differences are told together.
fn compare(found: &[(PathBuf, String)]) {
    let mut different = Vec::new();
    for (path, text) in found {
        let snapshot = path.with_extension("txt");
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            fs::write(&snapshot, text).expect("the snapshot is written");
        }
        let expected = fs::read_to_string(&snapshot).unwrap_or_default();
        if expected != *text {
            different.push(format!("--- {} has\n{expected}--- now it is\n{text}", snapshot.display()));
        }
    }
    assert!(different.is_empty(), "{}\nUPDATE_SNAPSHOTS=1 takes the new texts", different.join("\n"));
}

#[test]
fn wrong_files_are_told_what_is_wrong() {
    let shown = |path: PathBuf| {
        let text = match built(&path) {
            Err(problems) => problems.render(false),
            Ok((_, planned)) => {
                assert!(!planned.warnings.is_empty(), "{} is not wrong", path.display());
                planned.warnings.render(false)
            }
        };
        (path, text)
    };
    compare(&pipelines("wrong").into_iter().map(shown).collect::<Vec<_>>());
}

#[test]
fn right_files_are_drawn() {
    let drawn = |path: PathBuf| {
        let (pipeline, planned) = built(&path).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(planned.warnings.is_empty(), "{}", planned.warnings);
        let text = planned.plan.draw(&pipeline);
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "wider than 100 columns:\n{text}");
        (path, text)
    };
    compare(&pipelines("right").into_iter().map(drawn).collect::<Vec<_>>());
}

fn clicks() -> (Pipeline, Plan) {
    let (pipeline, planned) = built(&Path::new(FOLDER).join("right/clicks.toml")).expect("a right file");
    (pipeline, planned.plan)
}

#[test]
fn every_index_points_at_the_column_that_is_meant() {
    let (pipeline, plan) = clicks();
    for stage in &plan.stages {
        assert_eq!(stage.input, plan.columns_at(stage.from), "{}", stage.name);
        for flow in &stage.output {
            if let Origin::Input(input) = flow.origin {
                assert_eq!(stage.input[input], flow.column, "{}", stage.name);
            }
        }
        if let (Work::Plugin(plugin), config::StageKind::Plugin(written)) =
            (&stage.work, &pipeline.stages[stage.index].kind)
        {
            for (read, input) in plugin.contract.reads.iter().zip(&plugin.reads) {
                let name = written.rename.get(&read.name).unwrap_or(&read.name);
                assert_eq!(stage.input[*input].name, *name, "{}", stage.name);
            }
        }
    }
    for output in &plan.outputs {
        let there = plan.columns_at(output.from);
        let taken: Vec<Column> = output.take.iter().map(|column| there[*column].clone()).collect();
        assert_eq!(taken, output.columns, "{}", output.name);
    }
}

#[test]
fn a_plugin_is_told_everything_in_its_own_names() {
    let (_, plan) = clicks();
    let given = |name: &str| {
        let stage = plan.stages.iter().find(|stage| &*stage.name == name).expect("the stage");
        match &stage.work {
            Work::Plugin(plugin) => plugin.given.clone(),
            Work::Lookup(_) => panic!("a plugin"),
        }
    };
    let names = |columns: &[Column]| columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
    let told = names(&given("clean").columns);
    assert!(told.contains(&"page".to_owned()) && !told.contains(&"url".to_owned()), "{told:?}");
    assert_eq!(given("enrich").tables.iter().map(|table| table.name.as_str()).collect::<Vec<_>>(), ["people"]);
    assert_eq!(given("route").outputs, ["views", "orders"]);
}

#[test]
fn a_replaced_column_stays_where_it_was() {
    let (_, plan) = clicks();
    let clean = &plan.stages[0];
    let names: Vec<&str> = clean.output.iter().map(|flow| flow.column.name.as_str()).collect();
    let url = names.iter().position(|name| *name == "url");
    assert!(url < names.iter().position(|name| *name == "host"), "{names:?}");
    assert_eq!(clean.output[url.expect("url flows on")].origin, Origin::Made(0));
}

#[test]
fn only_nullable_columns_come_and_go_in_a_swap() {
    let (_, plan) = clicks();
    assert_eq!(plan.compatible(&plan), Ok(()));
    let changed = |change: &dyn Fn(&mut Vec<Column>)| {
        let mut next = plan.clone();
        change(&mut next.outputs[0].columns);
        plan.compatible(&next).err().map(|misfits| misfits.join("; "))
    };
    let column = |nullable| Column { name: "new".to_owned(), logical: millstream_sdk::LogicalType::Bool, nullable };
    assert_eq!(changed(&|columns| columns.push(column(true))), None);
    assert_eq!(changed(&|columns| columns.retain(|column| !column.nullable)), None);
    assert_eq!(
        changed(&|columns| columns.push(column(false))).expect("a misfit"),
        "output \"views\" would get column \"new\" bool, which older files do not have: make it nullable (bool?)"
    );
    assert_eq!(
        changed(&|columns| drop(columns.remove(0))).expect("a misfit"),
        "output \"views\" would lose column \"event_id\" utf8, which readers count on: only nullable columns can go"
    );
    assert_eq!(
        changed(&|columns| columns[0].logical = millstream_sdk::LogicalType::Int64).expect("a misfit"),
        "output \"views\" would have column \"event_id\" as int64, but its files have utf8"
    );
    assert!(changed(&|columns| columns[0].nullable = true).is_some());
    let mut fewer = plan.clone();
    fewer.outputs.pop();
    assert_eq!(plan.compatible(&fewer), Err(vec!["output \"raw\" would be gone".to_owned()]));
    assert_eq!(fewer.compatible(&plan), Err(vec!["output \"raw\" would be new".to_owned()]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is typed, there are problems or a pipeline, never a panic; and problems can be shown.
    #[test]
    fn no_edit_of_a_right_file_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..8, "[\\PC\n\"'{}=.\\[\\]\\\\$#,]{0,4}"), 1..6)
    ) {
        let path = Path::new(FOLDER).join("right/clicks.toml");
        let mut text = fs::read_to_string(&path).expect("the file");
        for (at, removed, put) in edits {
            let places: Vec<usize> = (0..=text.len()).filter(|place| text.is_char_boundary(*place)).collect();
            let at = at.index(places.len());
            let end = (at + removed).min(places.len() - 1);
            text.replace_range(places[at]..places[end], &put);
        }
        match config::read_text(&path, text, &[], &|_| None) {
            Ok(pipeline) => {
                let contracts = contracts(&path);
                let tables: Vec<Table> = contracts.tables.iter().map(table).collect();
                let configure = &mut |stage: &Stage, _: &Given| match contracts.stages.get(&stage.name.value) {
                    Some(text) => Ok(("0".into(), contract(text))),
                    None => Err(Refused::File("not there".to_owned())),
                };
                match build(&pipeline, &tables, 1, configure) {
                    Ok(planned) => prop_assert!(!planned.plan.draw(&pipeline).is_empty()),
                    Err(problems) => prop_assert!(problems.errors() > 0 && !problems.render(true).is_empty()),
                }
            }
            Err(problems) => prop_assert!(problems.errors() > 0 && !problems.render(true).is_empty()),
        }
    }
}
