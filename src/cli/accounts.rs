use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::app::{Database, Owner, StartError};
use crate::config::Loaded;
use crate::domain::Iccid;
use crate::store::Store;
use crate::store::accounts::{ACCOUNT_MAX_CHARS, AccountKey, UsageAccount};

use super::failure::Failure;
use super::table::{self, printable};

const PAGE: i64 = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum AccountsCommand {
    /// Say for which SIM an account stands, or change it; the next reading counts for that SIM
    Set {
        #[command(flatten)]
        account: AccountArgs,
        /// ICCID of the SIM; it need not be provisioned yet
        #[arg(long, value_parser = iccid)]
        iccid: Iccid,
    },
    /// List accounts
    List,
    /// Forget for which SIM an account stands
    Remove {
        #[command(flatten)]
        account: AccountArgs,
    },
}

#[derive(Args, Debug)]
pub(super) struct AccountArgs {
    /// Common name, user name or subscriber, as the source writes it
    #[arg(value_parser = account)]
    account: String,
    /// Name of the source in the configuration [default: every source of the tenant]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    source: String,
    #[arg(long, default_value = "default")]
    tenant: String,
}

impl From<AccountArgs> for AccountKey {
    fn from(AccountArgs { account, source, tenant }: AccountArgs) -> Self {
        Self { tenant, account, source }
    }
}

fn iccid(text: &str) -> Result<Iccid, &'static str> {
    Iccid::parse(text).ok_or("an ICCID has 10 to 20 digits")
}

fn account(text: &str) -> Result<String, String> {
    if (1..=ACCOUNT_MAX_CHARS).contains(&text.chars().count()) {
        Ok(text.to_owned())
    } else {
        Err(format!("an account has 1 to {ACCOUNT_MAX_CHARS} characters"))
    }
}

pub(super) async fn run(command: AccountsCommand, loaded: &Loaded) -> Result<ExitCode, Failure> {
    let sources = loaded.config.source.names();
    let database = Database::open(&loaded.config, Owner::Command).await?;
    let result = on(command, &database.store, &sources).await;
    database.close().await;
    result
}

async fn on(command: AccountsCommand, store: &Store, sources: &[&str]) -> Result<ExitCode, Failure> {
    store.migrate().await.map_err(StartError::from)?;
    match command {
        AccountsCommand::Set { account, iccid } => {
            let key = AccountKey::from(account);
            if !key.source.is_empty() && !sources.contains(&key.source.as_str()) {
                let name = printable(&key.source);
                return Err(Failure::new(1, format!("the configuration has no source `{name}`")));
            }
            if !store.save_account(&key, &iccid).await? {
                let name = printable(&key.tenant);
                return Err(Failure::new(1, format!("there is no tenant `{name}`")));
            }
            println!("{} stands for SIM {iccid}", words(&key));
        }
        AccountsCommand::List => list(store).await?,
        AccountsCommand::Remove { account } => {
            let key = AccountKey::from(account);
            if !store.remove_account(&key).await? {
                return Err(Failure::new(1, format!("nothing was said of {}", words(&key))));
            }
            println!("{} is forgotten; what was stored stays", words(&key));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn words(key: &AccountKey) -> String {
    let of = match key.source.as_str() {
        "" => "every source".to_owned(),
        source => format!("`{}`", printable(source)),
    };
    format!("account `{}` of {of}", printable(&key.account))
}

async fn list(store: &Store) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut after = AccountKey::default();
    loop {
        let page = store.accounts(&after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.key.clone();
        rows.extend(page.into_iter().map(row));
    }
    table::print(&["TENANT", "ACCOUNT", "SOURCE", "ICCID", "SIM"], &rows);
    Ok(())
}

fn row(account: UsageAccount) -> Vec<String> {
    let source = if account.key.source.is_empty() { "every" } else { &account.key.source };
    vec![
        printable(&account.key.tenant),
        printable(&account.key.account),
        printable(source),
        account.iccid,
        if account.provisioned { "provisioned" } else { "not provisioned" }.into(),
    ]
}
