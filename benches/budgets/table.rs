//! The table, in Markdown whose columns are aligned, so that one text is for terminals and documents.

use crate::figure::Figure;
use crate::goals::{GOALS, Goal};
use crate::measurements::Measurement;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Held,
    Missed,
    NotMeasured,
    NotAskedFor,
}

/// What became of every goal.
pub(crate) struct Table {
    lines: Vec<[String; 4]>,
    pub(crate) verdicts: Vec<Verdict>,
}

impl Table {
    pub(crate) fn new(chosen: &[&Measurement], figures: &[Figure]) -> Self {
        let head = ["Budget", "Goal", "Measured", "Verdict"].map(str::to_owned);
        let mut table = Self { lines: vec![head], verdicts: Vec::new() };
        for goal in &GOALS {
            let measurement = chosen.iter().find(|chosen| chosen.name == goal.measurement);
            let of_goal = |figure: &&Figure| figure.key == goal.key && figure.unit == goal.unit;
            let figure = figures.iter().find(of_goal);
            let verdict = verdict(goal, measurement.is_some(), figure);
            let smaller = figure.is_some() && measurement.is_some_and(|chosen| !chosen.smaller().is_empty());
            let word = word(verdict).to_owned() + if smaller { ", smaller than the budget asks" } else { "" };
            let measured = figure.map_or("—".to_owned(), measured);
            table.lines.push([goal.what.to_owned(), goal.text(), measured, word]);
            table.verdicts.push(verdict);
        }
        table
    }

    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        self.verdicts.iter().filter(|is| **is == verdict).count()
    }

    pub(crate) fn print(&self) {
        let width = |column: usize| self.lines.iter().map(|line| line[column].chars().count()).max();
        let widths = [0, 1, 2, 3].map(|column| width(column).unwrap_or(0));
        for (n, line) in self.lines.iter().enumerate() {
            let cells: Vec<_> =
                line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            println!("| {} |", cells.join(" | "));
            if n == 0 {
                println!("|{}|", widths.map(|width| "-".repeat(width + 2)).join("|"));
            }
        }
    }
}

fn verdict(goal: &Goal, asked_for: bool, figure: Option<&Figure>) -> Verdict {
    match figure {
        _ if !asked_for => Verdict::NotAskedFor,
        None => Verdict::NotMeasured,
        Some(figure) if goal.bound.holds(figure.value) => Verdict::Held,
        Some(_) => Verdict::Missed,
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Held => "held",
        Verdict::Missed => "**missed**",
        Verdict::NotMeasured => "**not measured**",
        Verdict::NotAskedFor => "not asked for",
    }
}

/// With as many digits as say something.
fn measured(figure: &Figure) -> String {
    let digits = match figure.value.abs() {
        value if value == value.round() || value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    if figure.value.is_infinite() {
        return "never".to_owned();
    }
    let value = format!("{:.digits$} {}", figure.value, figure.unit).trim_end().to_owned();
    if figure.about.is_empty() { value } else { format!("{value} ({})", figure.about) }
}
