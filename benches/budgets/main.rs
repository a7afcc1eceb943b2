//! Whether every budget is kept, with one command.
//!
//! `cargo bench --bench budgets` runs the other benchmarks, as far as budgets are about them, and prints one table at the end: budget,
//! goal, what was measured, held or missed. The table is Markdown for docs/BENCHMARKS.md. The exit code is 1 when a goal is missed or
//! its figure is not there. It takes less than an hour on two cores.
//! * `ingest`: what is committed over MQTT beside the bare loader, and the latency of a PUBACK at half that rate
//!   (`BENCH_MODES=bare,mqtt` of `ingest`).
//! * `sustained`: half rate for five minutes: how far charts are behind, memory, PUBACK (`sustained` of `rollup`).
//! * `connections`: memory of an idle connection; what others feel of hostile clients (`idle,hostile` of `broker`).
//! * `outage`: the database is stopped for a minute under load (`outage` of `ingest`).
//! * `api`: the consumption page over 10,000,000 records, and whether twice as many cost more (`api,growth` of `api`).
//! * `start`: start to the first accepted PUBLISH (`start` of `ingest`).
//!
//! Environment: `BENCH_BUDGETS` (default all of these, with commas between them); the others are in the table as "not asked for" and
//! do not count. `BENCH_BUDGETS_QUICK=1` tries all of it in a few minutes, with sizes for which no budget was made. `BENCH_SIMS`,
//! `BENCH_RECORDS` and the other sizes of the benchmarks count for each benchmark that knows them. Sizes below the budget's are told
//! with the table. A measurement that is not done after `BENCH_BUDGETS_LIMIT_MINUTES` (default 60) is ended. `BENCH_DATABASE_URL` as
//! for `ingest`; the server of `outage` and those of `start` are private ones always.

#[allow(dead_code, reason = "the benchmarks tell what is read here")]
mod figure;
mod goals;
mod measurements;
mod table;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use serde_json::Value;

use measurements::Measurement;
use table::{Table, Verdict};

fn main() -> ExitCode {
    let chosen = Measurement::chosen();
    let programs = build(&chosen);
    let (mut figures, mut failed) = (Vec::new(), false);
    for measurement in &chosen {
        println!("\n## {}", measurement.name);
        let began = Instant::now();
        let (told, ended_well) = measurement.run(&programs[measurement.bench]);
        println!("{}: {:.0} s", measurement.name, began.elapsed().as_secs_f64());
        figures.extend(told);
        failed |= !ended_well;
    }
    let table = Table::new(&chosen, &figures);
    println!();
    table.print();
    println!();
    for measurement in &chosen {
        let smaller = measurement.smaller();
        if !smaller.is_empty() {
            println!("{} was smaller than the budget asks: {}", measurement.name, smaller.join(", "));
        }
    }
    let (missed, unknown) = (table.count(Verdict::Missed), table.count(Verdict::NotMeasured));
    println!("{} held, {missed} missed, {unknown} not measured", table.count(Verdict::Held));
    ExitCode::from(u8::from(failed || missed + unknown > 0))
}

/// Builds the benchmarks before the first one is run; returns where they are.
fn build(chosen: &[&Measurement]) -> HashMap<String, PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["bench", "--no-run", "--message-format=json-render-diagnostics"]);
    for measurement in chosen {
        command.args(["--bench", measurement.bench]);
    }
    // What cargo told us about ourselves would have build scripts run again that look at it, and all that depends on them built anew.
    for (name, _) in std::env::vars_os() {
        let ours = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_EXE_"];
        if name.to_str().is_some_and(|name| ours.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit());
    let built = command.output().expect("cargo can be run");
    assert!(built.status.success(), "the benchmarks cannot be built");
    let messages = String::from_utf8(built.stdout).expect("cargo writes text");
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let benches = messages.filter(|message| message["target"]["kind"][0] == "bench");
    let place = |bench: Value| {
        Some((bench["target"]["name"].as_str()?.to_owned(), bench["executable"].as_str()?.into()))
    };
    benches.filter_map(place).collect()
}
