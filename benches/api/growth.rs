//! Whether answers cost more when there are more records of the same SIMs and days.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::database::BenchDatabase;
use crate::past::{fill, next_write, roll_up};
use crate::program::Program;
use crate::{ask, client, figure, questions};

/// Each question is asked so often, one after the other; the median counts.
const TIMES: usize = 9;

/// Computes every answer before and after as many records again were added.
pub(crate) async fn measure(
    database: &BenchDatabase,
    postgres: &Client,
    (key, sim): (&str, &str),
    records: usize,
) {
    let before = computed(database, key, sim).await;
    let started = Instant::now();
    fill(postgres, records, next_write(records)).await;
    roll_up(database).await;
    postgres.batch_execute("VACUUM ANALYZE").await.expect("it runs");
    println!("\n{records} records more of the same SIMs and hours, after {:.0?}", started.elapsed());
    let after = computed(database, key, sim).await;

    println!("{:64} {:>10} {:>10}", "computed", "before", "after");
    let ms = |took: Duration| took.as_secs_f64() * 1e3;
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        println!("{name:64} {:>7.1} ms {:>7.1} ms", ms(*before), ms(*after));
    }
    let sum = |answers: &[(String, Duration)]| ms(answers.iter().map(|(_, took)| *took).sum());
    let (before, after) = (sum(&before), sum(&after));
    let about = format!("all endpoints together {before:.0} ms and {after:.0} ms");
    figure::tell("consumption_growth", after / before, "", &about);
}

/// How long each answer takes when none is kept.
async fn computed(database: &BenchDatabase, key: &str, sim: &str) -> Vec<(String, Duration)> {
    let nothing_kept = ("SIMBRIDGE__HTTP__CONSUMPTION_CACHE_MAX_BYTES", "0".to_owned());
    let program = Program::launch(database, &[nothing_kept], false).await;
    let client = client();
    let mut answers = Vec::new();
    for question in questions(sim) {
        let mut took = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            took.push(ask(&client, &question.url(&program), key).await.0);
        }
        took.sort_unstable();
        answers.push((question.to_string(), took[TIMES / 2]));
    }
    answers
}
