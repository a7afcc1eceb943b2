use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// Without a terminal a line is written this often.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// How far a long command is, on standard error: a bar on a terminal, else a line now and then.
pub(super) struct Progress {
    /// `None` without a terminal.
    bar: Option<ProgressBar>,
    unit: &'static str,
    total: Option<u64>,
    done: u64,
    note: &'static str,
    started: Instant,
    said: Instant,
}

impl Progress {
    /// `total` units are to be done, if that is known; `unit` is their plural.
    pub(super) fn new(total: Option<u64>, unit: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::no_length();
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let now = Instant::now();
        let mut progress = Self { bar, unit, total: None, done: 0, note: "", started: now, said: now };
        progress.set_style();
        if let Some(total) = total {
            progress.expect(total);
        }
        progress
    }

    /// Says how many units there are in all, when that was not known or becomes known better.
    pub(super) fn expect(&mut self, total: u64) {
        let first = self.total.replace(total).is_none();
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
        if first {
            self.set_style();
        }
    }

    /// So many more units are done.
    pub(super) fn advance(&mut self, n: u64) {
        self.done += n;
        match &self.bar {
            Some(bar) => bar.set_position(self.done),
            None if self.said.elapsed() >= SAY_EVERY => {
                self.said = Instant::now();
                eprintln!("{}", self.line());
            }
            None => {}
        }
    }

    /// Something to know while it lasts; empty when all is well.
    pub(super) fn note(&mut self, note: &'static str) {
        if self.note != note {
            self.note = note;
            if let Some(bar) = &self.bar {
                bar.set_message(note);
            }
        }
    }

    /// Takes the bar away: what follows is the summary.
    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }

    fn set_style(&self) {
        let Some(bar) = &self.bar else { return };
        let unit = self.unit;
        let template = match self.total {
            Some(_) => {
                format!(
                    "{{bar:30}} {{percent:>3}} %  {{human_pos}} {unit}, {{per_sec}}, {{eta}} left  {{msg}}"
                )
            }
            None => format!("{{spinner}} {{human_pos}} {unit}, {{per_sec}}, {{elapsed}}  {{msg}}"),
        };
        let style = ProgressStyle::with_template(&template).expect("the template is written above");
        // Rounded: thousandths of a record a second say nothing.
        let style =
            style.with_key("per_sec", |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                write!(out, "{}/s", HumanCount(state.per_sec() as u64)).ok();
            });
        bar.set_style(style);
    }

    fn line(&self) -> String {
        let (seconds, unit) = (self.started.elapsed().as_secs_f64(), self.unit);
        let rate = self.done as f64 / seconds;
        let done = HumanCount(self.done);
        let mut line = format!("{done} {unit}, {}/s", HumanCount(rate as u64));
        if let Some(total) = self.total.filter(|total| *total > 0) {
            let percent = self.done.min(total) * 100 / total;
            line = format!("{percent} %, {line}");
            if rate > 0.0 {
                let left = Duration::from_secs_f64(total.saturating_sub(self.done) as f64 / rate);
                line = format!("{line}, {} left", HumanDuration(left));
            }
        }
        if !self.note.is_empty() {
            line = format!("{line}; {}", self.note);
        }
        line
    }
}
