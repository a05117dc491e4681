//! `millstream plugin bench`

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::PluginArg;
use crate::case::{Case, Cost, Kind, Trial, bench};
use crate::cli::Failure;
use crate::cli::cases::case_files;

/// Measure what a plugin costs a row in its sandbox, and how much of that is the boundary: the rows of its cases,
/// repeated to batches of several sizes. The figures are medians of the processor's time, in ns a row.
#[derive(Args)]
pub(in crate::cli) struct Bench {
    #[command(flatten)]
    plugin: PluginArg,
    /// A case or a folder of cases; by default `cases` in the plugin's folder.
    #[arg(long, value_name = "PATH")]
    cases: Vec<PathBuf>,
    /// Rows a call.
    #[arg(long, value_delimiter = ',', default_value = "64,512,4096", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    rows: Vec<u32>,
    /// How long to measure each size, in seconds.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.01..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("it is a number from 0.01 to 600".to_owned()),
    }
}

impl Bench {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let (plugin, folder) = self.plugin.load(&crate::cli::engine()?)?;
        for file in case_files(&self.cases, &folder)? {
            let case = Case::read(&file, Kind::Plugin)?;
            let trial = Trial::of_plugin(&case, &plugin)?;
            let mut out = std::io::stdout().lock();
            writeln!(out, "{}: {} rows, repeated", file.display(), case.rows.len())?;
            let titles =
                ["rows a call", "ns a row", "rows a second", "in", "copies", "plugin", "check", "boundary", "lookups"];
            let [rows, total, speed, into, copies, own, check, share, lookups] = titles;
            writeln!(
                out,
                "{rows:>11} {total:>9} {speed:>14} {into:>7} {copies:>7} {own:>8} {check:>7} {share:>9} {lookups:>8}"
            )?;
            for rows in &self.rows {
                let time = Duration::from_secs_f64(self.seconds);
                line(&mut out, &bench(&trial, &case, &plugin, *rows as usize, time)?)?;
            }
        }
        let mut out = std::io::stdout().lock();
        Ok(writeln!(
            out,
            "\nin: Arrow to the interface's layout. copies: into and out of the plugin's memory, taken from what copying as many\n\
             bytes costs here. plugin: its own work. check: what came back, checked and made Arrow. boundary: the share of all\n\
             but the plugin's own work. lookups: the host's, before the call, not in ns a row."
        )?)
    }
}

fn line(out: &mut impl Write, cost: &Cost) -> std::io::Result<()> {
    let Cost { rows, lookups_ns, lowering_ns, copies_ns, plugin_ns, checking_ns, .. } = cost;
    let (total, share) = (cost.total_ns(), 100.0 * cost.boundary_ns() / cost.total_ns().max(f64::MIN_POSITIVE));
    let speed = 1e9 / total.max(f64::MIN_POSITIVE);
    writeln!(
        out,
        "{rows:>11} {total:>9.1} {speed:>14.0} {lowering_ns:>7.1} {copies_ns:>7.1} {plugin_ns:>8.1} {checking_ns:>7.1} {share:>8.0}% {lookups_ns:>8.1}"
    )
}
