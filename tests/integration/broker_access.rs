//! Who may log in to the broker with what, what it may do there, and how soon it may no longer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use simbridge::api::{hash_key, make_key};
use simbridge::broker::auth::hash_password;
use simbridge::domain::{Clock, Iccid};
use simbridge::store::Store;
use simbridge::store::credentials::MqttRights;

use crate::alerts::{BEGIN, limited, raise};
use crate::harness::api::TestApi;
use crate::harness::bridge::command;
use crate::harness::database::{TestDatabase, now, sim};
use crate::harness::eventually;
use crate::harness::mqtt::{Answer, Hello, MqttClient};
use crate::harness::pipeline::{TestPipeline, correction_at, record, record_at, sender, time};

const OWN: &str = "8941000000000000001";
const FOREIGN: &str = "8941000000000000002";
const BATCH: &str = "simportal/sims/usage/batch";
const DENIED: u8 = 0x87;
/// What issue and documentation promise.
const WITHIN: Duration = Duration::from_secs(1);

async fn closed(database: &TestDatabase) -> TestApi {
    TestApi::start_with(database, Clock::System, false, |config| config.mqtt.anonymous = false).await
}

/// As behind PgBouncer in transaction mode.
async fn behind_a_pooler(database: &TestDatabase) -> TestApi {
    TestApi::start_with(database, Clock::System, false, |config| {
        config.mqtt.anonymous = false;
        config.database.prepared_statements = false;
    })
    .await
}

fn mqtt(api: &TestApi) -> SocketAddr {
    api.bridge.mqtt_addr.expect("MQTT is on")
}

fn usage(iccid: &str) -> String {
    format!("simportal/sims/{iccid}/usage")
}

/// A user with the password `secret`.
async fn add_user(store: &Store, name: &str, tenant: &str, rights: MqttRights) {
    let hash = hash_password("secret").expect("a hash");
    let saved = store.save_mqtt_credential(name, Some(tenant), &hash, &rights).await;
    assert!(saved.expect("it is stored"), "the tenant exists");
}

/// A key for everything but usage.
async fn add_key(store: &Store, name: &str, key: &str) {
    let permissions = ["mqtt:*".parse().expect("a permission")];
    let added = store.add_api_key("default", name, &hash_key(key), &permissions, &HashMap::new()).await;
    added.expect("it is stored").expect("the tenant exists");
}

fn device(iccid: &str) -> MqttRights {
    MqttRights { iccid: Some(Iccid::parse(iccid)), ..MqttRights::default() }
}

/// Each password has a client identifier of its own, because an identifier belongs to who is connected by it.
fn with_password<'h>(v5: bool, user: Option<&'h str>, password: &'h str) -> Hello<'h> {
    Hello { v5, id: password, user, password: Some(password) }
}

/// How a login ends.
#[derive(Clone, Copy, Debug)]
enum Change {
    Revoke,
    Delete,
    Password,
    Rights,
    RevokeKey,
    KeyPermissions,
}

async fn change(database: &TestDatabase, what: Change) {
    let store = &database.store;
    match what {
        Change::Revoke => assert!(store.revoke_mqtt_credential("meter").await.expect("it is revoked")),
        Change::Delete => database.run("DELETE FROM mqtt_credentials WHERE username = 'meter'").await,
        Change::Password => add_user(store, "meter", "default", MqttRights::default()).await,
        Change::Rights => {
            let none = MqttRights { publish: Some(Some(Vec::new())), ..MqttRights::default() };
            assert!(store.change_mqtt_credential("meter", &none).await.expect("it is changed"));
        }
        Change::RevokeKey => {
            assert!(store.revoke_api_key("default", "k", now()).await.expect("it is revoked"));
        }
        Change::KeyPermissions => {
            database.run("UPDATE api_keys SET permissions = '{usage:write}' WHERE name = 'k'").await;
        }
    }
}

/// Catches a version that does not move with one of these changes (a trigger left out), a comparison that finds only
/// logins that are gone, and a look that comes too late or at one instance only.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_revoked_or_changed_is_gone_within_a_second_at_every_instance() {
    let database = TestDatabase::new().await;
    let instances = [closed(&database).await, behind_a_pooler(&database).await];
    let key = make_key();
    add_key(&database.store, "k", &key).await;
    add_user(&database.store, "bystander", "default", MqttRights::default()).await;
    let mut bystander = MqttClient::log_in(mqtt(&instances[0]), true, "bystander", "secret").await;
    use Change::{Delete, KeyPermissions, Password, Revoke, RevokeKey, Rights};
    for what in [Revoke, Delete, Password, Rights, KeyPermissions, RevokeKey] {
        let by_key = matches!(what, RevokeKey | KeyPermissions);
        if !by_key {
            add_user(&database.store, "meter", "default", MqttRights::default()).await;
        }
        let password = if by_key { key.as_str() } else { "secret" };
        let mut clients = Vec::new();
        for instance in &instances {
            for v5 in [false, true] {
                clients.push((v5, MqttClient::log_in(mqtt(instance), v5, "meter", password).await));
            }
        }
        change(&database, what).await;
        let committed = Instant::now();
        for (v5, client) in &mut clients {
            let reason = client.ended().await;
            let took = committed.elapsed();
            assert!(took < WITHIN, "{what:?} took {took:?}");
            assert_eq!(reason, v5.then_some(0x98), "{what:?}");
        }
        let refused = matches!(what, Revoke | Delete | RevokeKey);
        for instance in &instances {
            let again =
                MqttClient::connect(mqtt(instance), with_password(true, Some("meter"), password)).await;
            assert_eq!(again.code, if refused { 0x86 } else { 0 }, "{what:?}");
        }
    }
    bystander.hears_nothing_more().await;
    for instance in instances {
        instance.close().await;
    }
}

/// Catches a key that is found by less than all of it, one that opens another tenant, one whose permissions are not asked,
/// and a wrong one that is answered at once.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_is_a_password() {
    let database = TestDatabase::new().await;
    let other = database.tenant("other", "UTC").await;
    database.store.import_sims(other, &[sim(OWN)], now()).await.expect("an import");
    let api = closed(&database).await;
    let writer = api.key_of("other", &["usage:write"]).await;
    for (v5, user) in [(false, Some("")), (false, Some("whoever")), (true, None), (true, Some("whoever"))] {
        let mut client = MqttClient::connect(mqtt(&api), with_password(v5, user, &writer)).await;
        assert_eq!(client.code, 0, "{v5} {user:?}");
        let id = format!("r-{v5}-{user:?}").replace('"', "");
        assert_eq!(client.publish(&usage(OWN), &record(&id, 1, 1, 1)).await, Answer::Acknowledged);
        assert_eq!(client.subscribe("t").await, if v5 { DENIED } else { 0x80 });
        let ordinary = client.publish("t", "x").await;
        match ordinary {
            Answer::Refused(reason, _) => assert!(v5 && reason == DENIED, "{reason:#x}"),
            other => assert!(!v5 && other == Answer::Closed, "{other:?}"),
        }
    }
    let stored = "SELECT count(*) FROM usage_records WHERE tenant_id = 2 AND sim_id IS NOT NULL";
    assert_eq!(database.number(stored).await, 4);

    let mut wrong = writer.clone();
    wrong.pop();
    let reader = api.key(&["usage:read", "sims:*", "admin:*"]).await;
    for (password, v311, v5) in [(wrong.as_str(), 4, 0x86), ("mqs_", 4, 0x86), (&reader, 5, DENIED)] {
        for (of_v5, code) in [(false, v311), (true, v5)] {
            let began = Instant::now();
            let client = MqttClient::connect(mqtt(&api), with_password(of_v5, Some("u"), password)).await;
            assert_eq!(client.code, code, "{password} {of_v5}");
            assert!(password == reader || began.elapsed() >= Duration::from_millis(250), "guessing is slow");
        }
    }
    let both = api.key(&["mqtt:publish", "mqtt:subscribe"]).await;
    let mut client = MqttClient::connect(mqtt(&api), with_password(true, None, &both)).await;
    assert_eq!(client.subscribe("#").await, 0);
    assert_eq!(client.publish("t", "x").await, Answer::Acknowledged);
    assert!(matches!(client.publish(&usage(OWN), "x").await, Answer::Refused(DENIED, _)));
    api.close().await;
}

/// Catches `usage:correct` that a key does not get, or gets without being granted it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_corrects_only_with_the_permission() {
    let database = TestDatabase::new().await;
    database.import(&[sim(OWN)]).await;
    let api = closed(&database).await;
    let at = now().format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let correction = correction_at("fix", "r", &at, -1);
    let plain = api.key(&["usage:write"]).await;
    let mut client = MqttClient::connect(mqtt(&api), with_password(true, None, &plain)).await;
    assert_eq!(client.publish(&usage(OWN), &record_at("r", &at, 10)).await, Answer::Acknowledged);
    let Answer::Refused(0x83, why) = client.publish(&usage(OWN), &correction).await else { panic!("taken") };
    assert!(why.contains("usage:correct"), "{why}");
    let trusted = api.key(&["usage:*"]).await;
    let mut client = MqttClient::connect(mqtt(&api), with_password(true, None, &trusted)).await;
    assert_eq!(client.publish(&usage(OWN), &correction).await, Answer::Acknowledged);
    assert_eq!(database.text("SELECT total_bytes FROM usage_cycles WHERE is_current", &[]).await, "9");
    api.close().await;
}

/// Catches a batch by which a device speaks for other SIMs (`own_iccid` left out of the envelope), and neighbours that pay
/// for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_sends_records_of_its_own_sim_only_in_batches_too() {
    let database = TestDatabase::new().await;
    database.import(&[sim(OWN), sim(FOREIGN)]).await;
    let api = closed(&database).await;
    add_user(&database.store, "meter", "default", device(OWN)).await;
    add_user(&database.store, "gateway", "default", MqttRights::default()).await;
    let of =
        |iccid: &str, id: &str| record(id, 1, 1, 1).replacen('{', &format!(r#"{{"iccid":"{iccid}","#), 1);
    // The same for both: made anew, it would be of another second.
    let batch = format!(r#"{{"batchId":"b","records":[{},{}]}}"#, of(OWN, "own"), of(FOREIGN, "foreign"));
    for v5 in [false, true] {
        let mut client = MqttClient::log_in(mqtt(&api), v5, "meter", "secret").await;
        match client.publish(BATCH, &batch).await {
            Answer::Refused(reason, why) => {
                assert!(v5 && reason == 0x83, "{reason:#x}");
                assert_eq!(
                    why,
                    "foreign: iccid: is another SIM's: this device may send usage of its own only"
                );
            }
            other => assert!(!v5 && other == Answer::Acknowledged, "{other:?}"),
        }
        let refused = client.publish(&usage(FOREIGN), &record("r", 1, 1, 1)).await;
        match refused {
            Answer::Refused(reason, _) => assert!(v5 && reason == DENIED, "{reason:#x}"),
            other => assert!(!v5 && other == Answer::Closed, "{other:?}"),
        }
    }
    assert_eq!(database.rows("SELECT record_id, iccid FROM usage_records").await, [format!("own|{OWN}")]);
    let parked = "SELECT reason, record_id, iccid, seen_count FROM quarantine";
    assert_eq!(database.rows(parked).await, [format!("not_permitted|foreign|{FOREIGN}|2")]);
    // The operator may decide otherwise.
    let id = database.text("SELECT id FROM quarantine", &[]).await;
    let (code, _, err) = command(&database, &["quarantine", "replay", &id]).await;
    assert_eq!((code, database.number("SELECT count(*) FROM usage_records").await), (Some(0), 2), "{err}");
    let mut gateway = MqttClient::log_in(mqtt(&api), true, "gateway", "secret").await;
    let batch = format!("[{},{}]", of(OWN, "g-1"), of(FOREIGN, "g-2"));
    assert_eq!(gateway.publish(BATCH, &batch).await, Answer::Acknowledged);
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 4);
    api.close().await;
}

/// Catches alerts or usage that leave their tenant, live or retained.
#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_usage_are_heard_by_their_own_tenant_only() {
    const AT: &str = "2026-03-10T12:00:00Z";
    let database = TestDatabase::new().await;
    let other = database.tenant("other", "UTC").await;
    database.import_at(BEGIN, &[limited(OWN, 1000)]).await;
    database.store.import_sims(other, &[limited(FOREIGN, 1000)], time(BEGIN)).await.expect("an import");
    let api = TestApi::start_with(&database, Clock::Fixed(time(AT)), false, |config| {
        config.mqtt.anonymous = false;
        config.alerts.pause_ms = 20;
    })
    .await;
    add_user(&database.store, "ours", "default", MqttRights::default()).await;
    add_user(&database.store, "theirs", "other", MqttRights::default()).await;
    add_user(&database.store, "meter", "default", device(OWN)).await;
    let mut live = Vec::new();
    for (name, iccid) in [("ours", OWN), ("meter", OWN), ("theirs", FOREIGN)] {
        let mut client = MqttClient::log_in(mqtt(&api), true, name, "secret").await;
        let all = if name == "meter" { format!("simportal/sims/{OWN}/#") } else { "simportal/sims/#".into() };
        assert_eq!(client.subscribe(&all).await, 0, "{name}");
        live.push((client, iccid));
    }
    let pipeline = TestPipeline::start_at(&database.store, AT);
    pipeline.one(OWN, record_at("a", AT, 850)).await;
    let theirs = simbridge::ingest::queue::Sender { tenant: other, ..sender(false) };
    pipeline.one_as(theirs, FOREIGN, record_at("b", AT, 850)).await;
    pipeline.finish().await;
    for (client, iccid) in &mut live {
        assert_eq!(client.heard().await, format!("simportal/sims/{iccid}/alerts"));
        client.hears_nothing_more().await;
    }
    let mut meter = MqttClient::log_in(mqtt(&api), false, "meter", "secret").await;
    assert_eq!(meter.publish(&usage(OWN), &record_at("c", AT, 1)).await, Answer::Acknowledged);
    for (client, _) in &mut live[..2] {
        assert_eq!(client.heard().await, usage(OWN));
    }
    live[2].0.hears_nothing_more().await;
    for (name, iccid) in [("ours", OWN), ("theirs", FOREIGN)] {
        let mut late = MqttClient::log_in(mqtt(&api), false, name, "secret").await;
        assert_eq!(late.subscribe("simportal/sims/+/alerts").await, 0);
        assert_eq!(late.heard().await, format!("simportal/sims/{iccid}/alerts"));
        late.hears_nothing_more().await;
    }
    assert_eq!(meter.subscribe(&format!("simportal/sims/{FOREIGN}/alerts")).await, 0x80);
    assert_eq!(raise(&database.store, AT).await, 0, "both were told of");
    api.close().await;
}

/// Catches commands that say one thing and store another, and patterns that nobody can have meant.
#[tokio::test(flavor = "multi_thread")]
async fn the_commands_set_and_show_what_a_user_may_do() {
    let database = TestDatabase::new().await;
    let add = ["devices", "add", "meter", "--iccid", OWN, "--publish", "m/{username}/#", "--publish", "x/+"];
    let (code, out, err) = command(&database, &add).await;
    assert_eq!(code, Some(0), "{err}");
    let password = out.strip_prefix("password of `meter`, shown this once: ").expect(&out).to_owned();
    let (_, shown, _) = command(&database, &["devices", "show", "meter"]).await;
    for line in [
        "tenant         default",
        "state          enabled",
        &format!("kind           device: usage of SIM {OWN} only"),
        "publishes on   m/{username}/#, x/+",
        "corrections    not allowed",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in {shown}");
    }
    assert!(shown.contains("simportal/sims/{iccid}/#") && shown.contains("(mqtt.acl)"), "{shown}");

    let api = closed(&database).await;
    let mut meter = MqttClient::log_in(mqtt(&api), true, "meter", &password).await;
    assert_eq!(meter.publish("m/meter/a/b", "x").await, Answer::Acknowledged);
    assert!(matches!(meter.publish("m/other/a", "x").await, Answer::Refused(DENIED, _)));
    let set =
        ["devices", "set", "meter", "--iccid", "none", "--publish=default", "--subscribe=none", "--correct"];
    let (code, shown, err) = command(&database, &set).await;
    assert_eq!(code, Some(0), "{err}");
    for part in ["gateway", "publishes on   # (mqtt.acl)", "subscribes to  nothing", "corrections    allowed"]
    {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    assert_eq!(meter.ended().await, Some(0x98));
    let mut meter = MqttClient::log_in(mqtt(&api), true, "meter", &password).await;
    assert_eq!(meter.publish("m/other/a", "x").await, Answer::Acknowledged);
    assert_eq!(meter.subscribe("m/other/a").await, DENIED);

    let (code, _, _) = command(&database, &["devices", "add", "meter"]).await;
    assert_eq!(code, Some(0));
    let kept = "SELECT may_correct, subscribe_topics, iccid FROM mqtt_credentials";
    assert_eq!(database.rows(kept).await, ["t|{}|NULL"], "a new password changes nothing else");
    let (_, list, _) = command(&database, &["devices", "list"]).await;
    assert!(list.contains("meter  default  -      own     enabled"), "{list}");
    for (wrong, told) in [
        (["--publish", "a/#/b"], "`#` takes everything below"),
        (["--subscribe", "{imsi}"], "{iccid}, {username}, {clientid}, {tenant}"),
        (["--iccid", "123"], "10 to 20 digits"),
    ] {
        let (code, _, err) = command(&database, &[&["devices", "add", "bad"], &wrong[..]].concat()).await;
        assert!(code == Some(2) && err.contains(told), "{wrong:?} {code:?} {err}");
    }
    assert_eq!(database.number("SELECT count(*) FROM mqtt_credentials").await, 1);
    let (code, out, _) = command(&database, &["devices", "revoke", "meter"]).await;
    assert_eq!((code, out.as_str()), (Some(0), "`meter` is refused; its connections end within a second"));
    let refused = async || {
        let hello = with_password(true, Some("meter"), &password);
        (MqttClient::connect(mqtt(&api), hello).await.code == 0x86).then_some(())
    };
    eventually("the revocation counts", refused).await;
    api.close().await;
}
