//! The broker as clients see it: a real one on a free port, spoken to in bytes.

mod client;
mod harness;
mod wire;

mod acknowledging;
mod acl;
mod acl_matrix;
mod admission;
mod admission_rates;
mod back_pressure;
mod certified_names;
mod connecting;
mod defects;
mod endings;
mod exactly_once;
mod hostile;
mod library_client;
mod limits;
mod login_watch;
mod outcomes;
mod retaining;
mod sessions;
mod sharing;
mod stopping;
mod subscribers;
mod subscriptions;
mod sys_topics;
mod traffic;
mod transports;
mod waiting;
mod wills;
