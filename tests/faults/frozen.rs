//! Two instances, of which the one that holds rollup duty, or is in the middle of a batch, stands still or dies.

use nix::sys::signal::Signal;

use crate::effort::either;
use crate::harness::bridge::BridgeProcess;
use crate::harness::durable::DurableServer;
use crate::harness::{PATIENCE, eventually};
use crate::link::{End, Passage, Place};
use crate::oracle;
use crate::rollup_duty::{NAMES, leader};
use crate::scene::Scene;

/// Makes every rollup take long enough to be seen.
async fn slow_rollups(server: &DurableServer) {
    let sql = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                   PERFORM pg_sleep(0.2); RETURN NULL;
               END $$;
               CREATE TRIGGER slow AFTER DELETE ON rollup_markers FOR EACH STATEMENT EXECUTE FUNCTION slow();";
    server.client().await.batch_execute(sql).await.expect("a trigger");
}

/// Catches an end that waits for work in the background, and that for an answer which never comes: a service manager then
/// kills the program.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_whose_rollup_gets_no_answer_ends_when_it_is_asked_to() {
    let mut scene = Scene::set().await;
    slow_rollups(&scene.server).await;
    let client = scene.server.client().await;
    scene.options.database_url += "&application_name=one";
    scene.options.set("rollup.run_limit_seconds", "600").set("rollup.flush_after_ms", "100");
    scene.options.set("shutdown.grace_ms", "500");
    let bridge = scene.bridge().await;
    let fleet = scene.fleet();
    fleet.more_acked(100).await;
    eventually("a rollup is under way", async || leader(&client).await).await;
    scene.database.set(Passage::Silent);
    let ended = tokio::time::timeout(PATIENCE, bridge.terminate()).await;
    assert_eq!(ended.expect("it ends long before the rollup gives up"), Some(0));
    scene.database.set(Passage::Open);
    let bridge = scene.bridge().await;
    scene.prove(fleet, bridge).await;
}

/// Catches a lock that outlives the work (a session's instead of a transaction's, or one without a limit for those that
/// stand still): the other instance then never rolls up, nor stores what the first one was storing. And a leader that goes on
/// after it was woken as if nothing had happened: hours and days would be added twice.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_freezes_or_dies_in_rollup_duty_is_replaced_and_nothing_is_added_twice() {
    let scene = Scene::set().await;
    slow_rollups(&scene.server).await;
    let client = scene.server.client().await;
    let options = [NAMES[0], NAMES[1]].map(|name| {
        let mut options = scene.options.clone();
        options.database_url = format!("{}&application_name={name}", options.database_url);
        options.set("mqtt.instance_name", name).set("rollup.flush_after_ms", "100");
        options
    });
    let mut running = Vec::new();
    for options in &options {
        running.push(BridgeProcess::start(options).await);
    }
    scene.devices.lead_to(Place::Tcp(running[0].mqtt));
    let fleet = scene.fleet();
    for turn in 0..either(4, 50) {
        fleet.more_acked(100).await;
        let which = eventually("somebody leads", async || leader(&client).await).await;
        running[which].signal(if turn % 2 == 0 { Signal::SIGSTOP } else { Signal::SIGKILL });
        scene.devices.lead_to(Place::Tcp(running[1 - which].mqtt));
        scene.devices.end(End::Close);
        // What the other one was storing is among it: the windows of the fleet hold less.
        fleet.more_acked(1_000).await;
        eventually("the other one leads", async || (leader(&client).await? == 1 - which).then_some(())).await;
        if turn % 2 == 0 {
            running[which].signal(Signal::SIGCONT);
        } else {
            running[which] = BridgeProcess::start(&options[which]).await;
        }
    }
    let (_, ledger) = fleet.finish().await;
    oracle::assert_proven(&ledger, &scene.server.store(), &client).await;
    for bridge in running {
        assert_eq!(bridge.terminate().await, Some(0));
    }
}
