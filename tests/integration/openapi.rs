//! The document of the API against what the program does, for every route of it: those that come later are covered too.

use reqwest::Method;
use serde_json::{Value, json};
use simbridge::config::Config;
use simbridge::domain::Clock;

use crate::harness::api::{Answer, TestApi, sent};
use crate::harness::database::{TestDatabase, sim};

/// Open to everybody: they say whether the program works.
const OPEN: [&str; 2] = ["/api/health", "/api/v1/health"];

/// Tell who is signed in, and let in: dashboard_sessions.rs.
const SIGN_IN: &str = "/api/session";

/// A route of the document.
#[derive(Debug)]
struct Route {
    method: Method,
    path: String,
    operation: Value,
}

async fn routes(api: &TestApi) -> Vec<Route> {
    let document = api.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().expect("paths").clone();
    let mut routes = Vec::new();
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().expect("operations") {
            let method = method.to_uppercase().parse().expect("a method");
            routes.push(Route { method, path: path.clone(), operation: operation.clone() });
        }
    }
    assert!(routes.len() > 25, "{routes:?}");
    routes
}

impl Route {
    /// The path with its parameters filled in; a parameter that nobody thought of fails the test.
    fn filled(&self, fill: &dyn Fn(&str) -> String) -> String {
        let mut path = String::new();
        let mut rest = self.path.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').expect("a closed parameter");
            path.push_str(before);
            path.push_str(&fill(name));
            rest = after;
        }
        path + rest
    }
}

#[tokio::test]
async fn the_document_is_of_openapi_3_1_and_says_who_may_do_what() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let document = api.get("/openapi.json").await.json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{document}");
    for route in routes(&api).await {
        let Route { method, path, operation } = &route;
        let described = |key: &str| operation[key].as_str().is_some_and(|text| !text.is_empty());
        assert!(described("summary") && described("operationId"), "{method} {path} is not described");
        assert!(operation["tags"][0].is_string(), "{method} {path} has no tag");
        let statuses = operation["responses"].as_object().expect("answers");
        for (status, answer) in statuses {
            let text = answer["description"].as_str();
            assert!(text.is_some_and(|text| !text.is_empty()), "{method} {path} {status} is not described");
        }
        if !OPEN.contains(&path.as_str()) && path != SIGN_IN {
            assert!(statuses.contains_key("401") && statuses.contains_key("403"), "{method} {path}");
            let text = operation["description"].as_str().unwrap_or("");
            assert!(
                text.contains("Needs the permission `"),
                "{method} {path} does not say what it needs: {text}"
            );
        }
    }
    api.close().await;
}

/// Catches a handler that does not ask who calls: `Allowed` left out of its parameters.
#[tokio::test]
async fn no_route_answers_without_a_key() {
    let database = TestDatabase::new().await;
    let patient = |config: &mut Config| config.http.rate_limit.wrong_keys_per_minute = 0;
    let api = TestApi::start_with(&database, Clock::System, false, patient).await;
    let weak = api.key(&["usage:correct"]).await;
    for route in routes(&api).await.into_iter().filter(|route| route.path != SIGN_IN) {
        let path = route.filled(&|_| "1".into());
        let ask =
            || api.request(route.method.clone(), &path).header("Content-Type", "application/json").body("{}");
        let nobody = sent(ask()).await;
        if OPEN.contains(&route.path.as_str()) {
            assert_eq!(nobody.status, 200, "{path}");
            continue;
        }
        assert_eq!(nobody.status, 401, "{} {path}: {}", route.method, nobody.text);
        let unknown = sent(ask().bearer_auth("mqs_nobody")).await;
        assert_eq!(unknown.status, 401, "{} {path}: {}", route.method, unknown.text);
        let missing = sent(ask().bearer_auth(&weak)).await;
        assert_eq!(missing.status, 403, "{} {path}: {}", route.method, missing.text);
        let permission = route.operation["security"][0]["bearer"][0].as_str().expect("a permission");
        assert!(
            missing.text.contains(&format!("lacks the permission {permission}")),
            "{path}: {}",
            missing.text
        );
    }
    api.close().await;
}

/// What a tenant calls its own; no answer to another one may contain any of it.
#[derive(Debug)]
struct Belongings {
    tenant: String,
    key: String,
    /// Of a SIM for which the others send records too: to them it is an unknown one.
    iccid: String,
    /// Of a SIM that the others know nothing of.
    hidden: String,
    sim_id: String,
    session: String,
}

impl Belongings {
    fn marks(&self) -> [String; 6] {
        [
            self.tenant.clone(),
            format!("{}-carrier-site", self.tenant),
            self.hidden.clone(),
            self.sim_id.clone(),
            format!("{}-source", self.tenant),
            self.session.clone(),
        ]
    }
}

/// A tenant with a SIM, a record under an id that all tenants use, one for each other tenant's SIM, a session and a parked record.
async fn settle(database: &TestDatabase, api: &TestApi, number: usize) -> Belongings {
    let tenant = ["north", "south", "west"][number].to_owned();
    let id = database.tenant(&tenant, "UTC").await;
    let (iccid, hidden) = (format!("89410000000000077{number:02}"), format!("89410000000000088{number:02}"));
    let row = simbridge::store::sims::SimRow {
        location_name: Some(format!("{tenant}-carrier-site")),
        latitude: Some(47.0),
        longitude: Some(8.0),
        rate_plan: Some(format!("{tenant}-plan")),
        ..sim(&iccid)
    };
    database
        .store
        .import_sims(id, &[row], crate::harness::database::now())
        .await
        .expect("the import succeeds");
    let sim_id = database.text("SELECT sim_id FROM provisioned_sims WHERE iccid = $1", &[&iccid]).await;
    let key = api.key_of(&tenant, &["*"]).await;
    let start = crate::harness::database::now() - chrono::TimeDelta::hours(1);
    let period = json!({"periodStart": start, "periodEnd": start});
    let mut records = Vec::new();
    for other in 0..3 {
        let iccid = format!("89410000000000077{other:02}");
        let mut record = period.clone();
        record["recordId"] = "shared".into();
        record["iccid"] = iccid.into();
        record["source"] = format!("{tenant}-source").into();
        record["mccmnc"] = "22801".into();
        record["usage"] = json!({"totalBytes": 1_000 + number});
        records.push(record);
    }
    let mut own = period.clone();
    own["recordId"] = "own".into();
    own["iccid"] = hidden.clone().into();
    own["usage"] = json!({"totalBytes": 7});
    records.push(own);
    let session = format!("{tenant}-session");
    let mut reading = period.clone();
    reading["recordId"] = "reading".into();
    reading["iccid"] = iccid.clone().into();
    reading["counters"] = json!({"sessionId": session, "uploadBytes": 5, "downloadBytes": 6});
    records.push(reading);
    let mut parked = period.clone();
    parked["recordId"] = "parked".into();
    parked["iccid"] = hidden.clone().into();
    parked["usage"] = json!({"totalBytes": -1});
    records.push(parked);
    let batch = json!({"batchId": "shared", "records": records});
    let answer = api.post_as(&key, "/api/v1/usage/batch", &batch).await;
    assert_eq!((answer.status, &answer.json()["recordsFailed"]), (202, &json!(1)), "{}", answer.text);
    let hook = json!({"url": format!("https://{tenant}.example.com/hook")});
    let answer = api.post_as(&key, "/api/v1/alerts/webhooks", &hook).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    Belongings { tenant, key, iccid, hidden, sim_id, session }
}

/// Catches a query without its tenant, in any route that reads: each is asked by each tenant, with nothing, with the ids of its own and
/// with those of the others.
#[tokio::test]
async fn no_answer_shows_what_belongs_to_another_tenant() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let mut all = Vec::new();
    for number in 0..3 {
        all.push(settle(&database, &api, number).await);
    }
    database.roll_up().await;
    let routes = routes(&api).await;
    let read = routes.iter().filter(|route| route.method == Method::GET);
    for route in read.filter(|route| !["/ws", "/api/live/dashboard"].contains(&route.path.as_str())) {
        for asking in &all {
            for asked in &all {
                let path = route.filled(&|name| value(name, asked));
                let query = "?start_date=2026-01-01&end_date=2026-12-31&granularity=daily&imsi=";
                for path in [path.clone(), format!("{path}{query}{}", asked.hidden)] {
                    let answer = api.get_as(&asking.key, &path).await;
                    assert!(answer.status < 500, "{path}: {answer:?}");
                    let foreign = all.iter().filter(|other| other.tenant != asking.tenant);
                    let shown = without_question(&answer, &path);
                    for mark in foreign.flat_map(Belongings::marks) {
                        assert!(!shown.contains(&mark), "{} sees {mark} at {path}: {shown}", asking.tenant);
                    }
                }
            }
        }
    }
    // It is not empty answers that were looked at.
    let own = api.get_as(&all[0].key, "/api/v1/provisioned-sims").await;
    assert!(own.text.contains(&all[0].iccid), "{}", own.text);
    let details = format!("/api/v1/sims/{}/usage/records", all[1].iccid);
    assert!(api.get_as(&all[1].key, &details).await.text.contains("south-source"));
    assert_eq!(api.get_as(&all[0].key, &details).await.status, 404);
    api.close().await;
}

/// What a parameter of a path stands for.
fn value(name: &str, asked: &Belongings) -> String {
    match name {
        "id" | "sim" => asked.sim_id.clone(),
        "plan" => format!("{}-plan", asked.tenant),
        "sessionId" => asked.session.clone(),
        unknown => panic!("say what `{unknown}` stands for, so that isolation is tested there too"),
    }
}

/// The answer, but for what it repeats of the question.
fn without_question(answer: &Answer, path: &str) -> String {
    let mut text = answer.text.clone();
    for part in path.split(['/', '?', '&', '=']).filter(|part| part.len() > 5) {
        if answer.status >= 400 {
            text = text.replace(part, "");
        }
    }
    text
}

/// Catches a page that shows less than the document, and one that loads something.
#[tokio::test]
async fn the_page_for_people_shows_every_route_and_needs_nothing_else() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let page = api.get("/docs").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    for route in routes(&api).await {
        assert!(page.text.contains(&format!("<code>{}</code>", route.path)), "{} is missing", route.path);
    }
    for word in ["<script", "src=", "@import", "url("] {
        assert!(!page.text.contains(word), "{word}");
    }
    api.close().await;
}
