use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::app::{Database, Owner, StartError};
use crate::broker::auth::hash_password;
use crate::config::{AclConfig, Loaded};
use crate::domain::{Iccid, TopicRule};
use crate::store::Store;
use crate::store::credentials::{MqttCredential, MqttRights, MqttUser};

use super::failure::Failure;
use super::password::make_password;
use super::table::{self, printable};

const PAGE: i64 = 1_000;
/// Patterns of one list; the schema holds no more.
const MAX_PATTERNS: usize = 100;

#[derive(Debug, Subcommand)]
pub(super) enum DevicesCommand {
    /// Add a user, or give it a new password; the password is read from standard input, or made up and shown once
    Add {
        username: String,
        /// Tenant in whose name it speaks [default: its own, or `default` for a new user]
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        rights: RightsArgs,
    },
    /// Change what a user may do; its connections end and may come back at once
    Set {
        username: String,
        #[command(flatten)]
        rights: RightsArgs,
    },
    /// List users
    List,
    /// Show what a user may do
    Show { username: String },
    /// Refuse a user; its connections end within a second
    Revoke { username: String },
}

/// What is not given stays as it is.
#[derive(Debug, Args)]
pub(super) struct RightsArgs {
    /// Make it a device, which sends usage of this SIM only; `none`: a gateway, which speaks for every SIM of its tenant
    #[arg(long, value_parser = iccid)]
    iccid: Option<OwnIccid>,
    /// Topics on which it may publish, with +, # and the levels {iccid}, {username}, {clientid}, {tenant}; once for each, or
    /// `default` for what mqtt.acl says, or `none`
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    publish: Vec<Pattern>,
    /// Topics to which it may subscribe; as --publish
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    subscribe: Vec<Pattern>,
    /// Let it send signed corrections (permission usage:correct), or with `false` no longer
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    correct: Option<bool>,
}

#[derive(Clone, Debug)]
enum OwnIccid {
    None,
    Of(Iccid),
}

#[derive(Clone, Debug)]
enum Pattern {
    Default,
    None,
    Rule(TopicRule),
}

fn iccid(text: &str) -> Result<OwnIccid, &'static str> {
    match text {
        "none" => Ok(OwnIccid::None),
        _ => Iccid::parse(text).map(OwnIccid::Of).ok_or("an ICCID has 10 to 20 digits"),
    }
}

fn pattern(text: &str) -> Result<Pattern, String> {
    match text {
        "default" => Ok(Pattern::Default),
        "none" => Ok(Pattern::None),
        _ => {
            text.parse().map(Pattern::Rule).map_err(|error: crate::domain::TopicRuleError| error.to_string())
        }
    }
}

impl RightsArgs {
    fn rights(self) -> Result<MqttRights, Failure> {
        Ok(MqttRights {
            iccid: self.iccid.map(|iccid| match iccid {
                OwnIccid::None => None,
                OwnIccid::Of(iccid) => Some(iccid),
            }),
            publish: list("--publish", self.publish)?,
            subscribe: list("--subscribe", self.subscribe)?,
            may_correct: self.correct,
        })
    }
}

/// What a list is to become, if anything.
fn list(flag: &str, patterns: Vec<Pattern>) -> Result<Option<Option<Vec<TopicRule>>>, Failure> {
    match patterns.as_slice() {
        [] => return Ok(None),
        [Pattern::Default] => return Ok(Some(None)),
        [Pattern::None] => return Ok(Some(Some(Vec::new()))),
        _ => {}
    }
    if patterns.len() > MAX_PATTERNS {
        return Err(Failure::new(2, format!("{flag}: at most {MAX_PATTERNS} patterns")));
    }
    let rules = patterns.into_iter().map(|pattern| match pattern {
        Pattern::Rule(rule) => Ok(rule),
        Pattern::Default | Pattern::None => {
            Err(Failure::new(2, format!("{flag}: `default` and `none` stand alone, without other patterns")))
        }
    });
    rules.collect::<Result<_, _>>().map(|rules| Some(Some(rules)))
}

pub(super) async fn run(command: DevicesCommand, loaded: &Loaded) -> Result<ExitCode, Failure> {
    let database = Database::open(&loaded.config, Owner::Command).await?;
    let result = on(command, &database.store, &loaded.config.mqtt.acl).await;
    database.close().await;
    result
}

async fn on(command: DevicesCommand, store: &Store, acl: &AclConfig) -> Result<ExitCode, Failure> {
    store.migrate().await.map_err(StartError::from)?;
    match command {
        DevicesCommand::Add { username, tenant, rights } => {
            add(store, &username, tenant.as_deref(), &rights.rights()?).await?;
        }
        DevicesCommand::Set { username, rights } => {
            if !store.change_mqtt_credential(&username, &rights.rights()?).await? {
                return Err(unknown(&username));
            }
            show(store, &username, acl).await?;
        }
        DevicesCommand::List => list_users(store).await?,
        DevicesCommand::Show { username } => show(store, &username, acl).await?,
        DevicesCommand::Revoke { username } => {
            if !store.revoke_mqtt_credential(&username).await? {
                return Err(unknown(&username));
            }
            println!("`{username}` is refused; its connections end within a second");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn unknown(username: &str) -> Failure {
    Failure::new(1, format!("there is no user `{username}`"))
}

async fn add(
    store: &Store,
    username: &str,
    tenant: Option<&str>,
    rights: &MqttRights,
) -> Result<(), Failure> {
    if !(1..=200).contains(&username.chars().count()) || username.chars().any(char::is_control) {
        return Err(Failure::new(2, "a user name has 1 to 200 visible characters"));
    }
    let given = given_password()?;
    let made_up = given.is_none();
    let password = given.unwrap_or_else(make_password);
    let hash = hash_password(&password).map_err(StartError::from)?;
    if !store.save_mqtt_credential(username, tenant, &hash, rights).await? {
        return Err(Failure::new(1, format!("there is no tenant `{}`", tenant.unwrap_or_default())));
    }
    if made_up {
        println!("password of `{username}`, shown this once: {password}");
    } else {
        println!("`{username}` may connect");
    }
    Ok(())
}

/// The first line of standard input, unless a person sits there.
fn given_password() -> Result<Option<String>, Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Ok(None);
    }
    let mut line = String::new();
    stdin
        .lock()
        .read_line(&mut line)
        .map_err(|e| Failure::new(2, format!("cannot read the password: {e}")))?;
    let password = line.trim_end_matches(['\r', '\n']);
    Ok((!password.is_empty()).then(|| password.to_owned()))
}

async fn show(store: &Store, username: &str, acl: &AclConfig) -> Result<(), Failure> {
    let user = store.mqtt_credential(username).await?.ok_or_else(|| unknown(username))?;
    let (publish, subscribe) = match user.iccid {
        Some(_) => (&acl.device_publish, &acl.device_subscribe),
        None => (&acl.service_publish, &acl.service_subscribe),
    };
    let MqttCredential { publish: own_publish, subscribe: own_subscribe, .. } = &user;
    let lines = [
        ("user", username.to_owned()),
        ("tenant", user.tenant_name.clone()),
        ("state", state(user.enabled).into()),
        (
            "kind",
            match &user.iccid {
                Some(iccid) => format!("device: usage of SIM {iccid} only"),
                None => "gateway: usage of every SIM of the tenant".into(),
            },
        ),
        ("publishes on", topics(own_publish.as_deref(), publish)),
        ("subscribes to", topics(own_subscribe.as_deref(), subscribe)),
        ("corrections", if user.may_correct { "allowed" } else { "not allowed" }.into()),
        ("since (UTC)", user.created_at.format("%F %T").to_string()),
    ];
    for (name, value) in lines {
        println!("{name:<14} {}", printable(&value));
    }
    Ok(())
}

fn topics(own: Option<&[TopicRule]>, configured: &[String]) -> String {
    match own {
        Some([]) => "nothing".into(),
        Some(own) => own.iter().map(TopicRule::as_str).collect::<Vec<_>>().join(", "),
        None => format!("{} (mqtt.acl)", configured.join(", ")),
    }
}

fn state(enabled: bool) -> &'static str {
    if enabled { "enabled" } else { "revoked" }
}

async fn list_users(store: &Store) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut after = String::new();
    loop {
        let page = store.list_mqtt_credentials(&after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.username);
        rows.extend(page.into_iter().map(row));
    }
    table::print(&["USER", "TENANT", "ICCID", "TOPICS", "STATE", "SINCE (UTC)"], &rows);
    Ok(())
}

fn row(user: MqttUser) -> Vec<String> {
    vec![
        printable(&user.username),
        user.tenant_name,
        user.iccid.unwrap_or_else(|| "-".into()),
        if user.own_topics { "own" } else { "default" }.into(),
        state(user.enabled).into(),
        user.created_at.format("%F %T").to_string(),
    ]
}
