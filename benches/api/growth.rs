//! Whether answers cost more when there are more records of the same SIMs and hours.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::database::BenchDatabase;
use crate::past::{fill, next_write, roll_up};
use crate::program::Program;
use crate::{Question, ask, client, figure, questions};

/// Each question is asked so often, one after the other; the median counts.
const TIMES: usize = 15;

/// Less is what else the machine does.
const NOTHING: Duration = Duration::from_millis(2);

/// Computes every answer before and after as many records again were added.
pub(crate) async fn measure(
    database: &BenchDatabase,
    postgres: &Client,
    (key, sim): (&str, &str),
    records: usize,
) {
    let questions = questions(sim);
    let before = computed(database, postgres, key, &questions).await;
    let started = Instant::now();
    fill(postgres, records, next_write(records)).await;
    roll_up(database).await;
    postgres.batch_execute("VACUUM ANALYZE").await.expect("it runs");
    println!("\n{records} records more of the same SIMs and hours, after {:.0?}", started.elapsed());
    let after = computed(database, postgres, key, &questions).await;

    println!("{:100} {:>10} {:>10}", "computed", "before", "after");
    let ms = |took: Duration| took.as_secs_f64() * 1e3;
    let mut most = (1.0, String::from("none grew"));
    for ((question, before), after) in questions.iter().zip(before).zip(after) {
        println!("{question:100} {:>7.1} ms {:>7.1} ms", ms(before), ms(after));
        let growth = ms(after) / ms(before);
        if after > before + NOTHING && growth > most.0 {
            most = (growth, format!("{question}: {:.1} ms, then {:.1} ms", ms(before), ms(after)));
        }
    }
    figure::tell("consumption_growth", most.0, "", &most.1);
}

/// How long each answer takes when none is kept.
async fn computed(
    database: &BenchDatabase,
    postgres: &Client,
    key: &str,
    questions: &[Question],
) -> Vec<Duration> {
    // What was loaded right before is not to be written out meanwhile.
    postgres.batch_execute("CHECKPOINT").await.expect("it runs");
    let nothing_kept = ("SIMBRIDGE__HTTP__CONSUMPTION_CACHE_MAX_BYTES", "0".to_owned());
    let program = Program::launch(database, &[nothing_kept], false).await;
    let client = client();
    let mut medians = Vec::with_capacity(questions.len());
    for question in questions {
        let mut took = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            took.push(ask(&client, &question.url(&program), key).await.0);
        }
        took.sort_unstable();
        medians.push(took[TIMES / 2]);
    }
    medians
}
