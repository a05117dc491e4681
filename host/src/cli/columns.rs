//! Tables for people: columns as wide as their widest cell, two spaces between them.

use std::io::{self, Write};

/// Writes rows under a head; each row has as many cells as the head.
pub(super) fn write_columns(out: &mut dyn Write, head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> =
        head.iter().enumerate().map(|(at, title)| title.chars().count().max(width(at).unwrap_or(0))).collect();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", padded.join("  ").trim_end())
    };
    line(&mut head.iter().copied())?;
    rows.iter().try_for_each(|row| line(&mut row.iter().map(String::as_str)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut out = Vec::new();
        let rows = [vec!["clean".to_owned(), "é".to_owned()], vec!["a".to_owned(), String::new()]];
        write_columns(&mut out, &["stage", "x"], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "stage  x\nclean  é\na\n");
    }
}
