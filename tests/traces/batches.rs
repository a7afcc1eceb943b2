//! The way of a batch.

use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::collector::{Collector, Seen};
use crate::harness::database::TestDatabase;
use crate::harness::mqtt::{Answer, Hello, MqttClient};
use crate::harness::pipeline::record;

const ICCID: &str = "8941000000000000001";
const BATCH: &str = "process usage";

pub(crate) async fn traced(database: &TestDatabase, collector: &Collector) -> BridgeProcess {
    let mut options = BridgeOptions::new(database.url());
    options.set("traces.endpoint", collector.url());
    BridgeProcess::start(&options).await
}

pub(crate) async fn device(bridge: &BridgeProcess) -> MqttClient {
    let hello = Hello { v5: false, id: "meter", user: None, password: None };
    MqttClient::connect(bridge.mqtt, hello).await
}

pub(crate) async fn publish(device: &mut MqttClient, payload: &str) {
    let topic = format!("simportal/sims/{ICCID}/usage");
    assert_eq!(device.publish(&topic, payload).await, Answer::Acknowledged);
}

/// What became of the records of a batch, or of a write.
fn tally(span: &Seen) -> [&str; 3] {
    ["stored", "duplicate", "parked"]
        .map(|what| span.attributes[&format!("simbridge.records.{what}")].as_str())
}

/// Catches steps that stand beside their batch or in other traces, and a batch that began when it was taken.
#[tokio::test]
async fn a_batch_that_comes_by_mqtt_is_one_trace_down_to_its_commit() {
    let (database, collector) = (TestDatabase::new().await, Collector::start().await);
    let mut options = BridgeOptions::new(database.url());
    options.set("traces.endpoint", collector.url()).set("mqtt.instance_name", "north");
    options.set("traces.resource_attributes", "deployment.environment.name=trial");
    options.set("traces.headers", "x-tenant=a%20b");
    let bridge = BridgeProcess::start(&options).await;
    let one = record("one", 5, 1, 2);
    publish(&mut device(&bridge).await, &one).await;
    let batch = collector.finds(BATCH, |_| true).await;
    assert_eq!(bridge.terminate().await, Some(0));

    assert_eq!((batch.parent.as_str(), batch.failed), ("", false));
    assert_eq!(tally(&batch), ["1", "0", "0"]);
    assert_eq!((batch.has("messaging.system"), batch.has("messaging.batch.message_count")), ("mqtt", "1"));
    let wait = collector.step(&batch, "wait");
    assert_eq!(wait.nanos.0, batch.nanos.0, "it began when the message was received");
    let write = collector.step(&batch, "write");
    assert_eq!(tally(&write), ["1", "0", "0"]);
    let told = ["db.system.name", "db.operation.batch.size", "simbridge.attempt"].map(|key| write.has(key));
    assert_eq!(told, ["postgresql", "1", "1"]);
    for statement in ["claim_keys", "insert_records", "mark_write", "COMMIT"] {
        let step = collector.step(&write, statement);
        assert_eq!(step.has("db.system.name"), "postgresql");
        assert!(write.nanos.0 <= step.nanos.0 && step.nanos.1 <= write.nanos.1, "{step:?} within {write:?}");
    }
    let (decode, acknowledge) = (collector.step(&batch, "decode"), collector.step(&batch, "acknowledge"));
    assert!(decode.nanos.1 <= write.nanos.0 && write.nanos.1 <= acknowledge.nanos.0);
    let resource = collector.resource();
    let named = ["service.name", "service.instance.id", "deployment.environment.name", "service.version"];
    assert_eq!(named.map(|key| &*resource[key]), ["simbridge", "north", "trial", env!("CARGO_PKG_VERSION")]);
    let heads = collector.heads();
    assert!(heads.iter().all(|head| head.starts_with("POST /v1/traces ")), "{heads:?}");
    assert!(heads.iter().all(|head| head.contains("x-tenant: a b\r\n")), "{heads:?}");
}

#[tokio::test]
async fn repeated_and_parked_records_are_counted_in_the_span_of_their_batch() {
    let (database, collector) = (TestDatabase::new().await, Collector::start().await);
    let bridge = traced(&database, &collector).await;
    let (mut device, one) = (device(&bridge).await, record("one", 5, 1, 2));
    publish(&mut device, &one).await;
    publish(&mut device, &format!("[{one}, {{\"recordId\": \"bad\"}}]")).await;
    let batch = collector.finds(BATCH, |batch| tally(batch) == ["0", "1", "1"]).await;
    assert_eq!(tally(&collector.step(&batch, "write")), ["0", "1", "0"], "the other came parked");
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches an error's message, which quotes the record, and a failure that looks like a success.
#[tokio::test]
async fn a_write_that_fails_tells_its_sqlstate_and_nothing_of_the_record() {
    let (database, collector) = (TestDatabase::new().await, Collector::start().await);
    let refusing = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'refused: %', NEW.record_id USING ERRCODE = '22023'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON usage_records FOR EACH ROW EXECUTE FUNCTION refuse()";
    database.run(refusing).await;
    let bridge = traced(&database, &collector).await;
    publish(&mut device(&bridge).await, &record("canary-of-a-record", 5, 1, 2)).await;
    let batch = collector.finds(BATCH, |_| true).await;
    assert_eq!(tally(&batch), ["0", "0", "1"]);
    let writes = collector.below(&batch).into_iter().filter(|step| step.name == "write");
    let failed: Vec<Seen> = writes.filter(|write| write.failed).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!((failed[0].has("db.response.status_code"), failed[0].has("error.type")), ("22023", "22023"));
    assert!(collector.step(&failed[0], "insert_records").failed);
    assert_eq!(bridge.terminate().await, Some(0));
    let text = collector.text();
    assert!(!text.contains("canary") && !text.contains(ICCID) && !text.contains("refused"), "{text}");
}
