//! What faults need to know of a PostgreSQL of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio_postgres::config::Host;

use crate::harness::durable::DurableServer;

impl DurableServer {
    /// The file of its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        let config = self.postgres.config();
        let [Host::Unix(directory)] = config.get_hosts() else { panic!("a socket") };
        directory.join(".s.PGSQL.5432")
    }

    /// The way to it through something that listens at `address`.
    pub(crate) fn url_through(&self, address: SocketAddr) -> String {
        let url = self.url();
        let (login, _) = url.split_once("@/").expect("a socket");
        format!("{login}@{address}/simbridge?sslmode=disable")
    }

    /// How to connect to another database of it.
    pub(crate) fn config_for(&self, database: &str) -> tokio_postgres::Config {
        self.postgres.config_for(database)
    }

    /// Process id of the server; another one after it was started again.
    pub(crate) fn pid(&self) -> i32 {
        self.postgres.pid()
    }
}
