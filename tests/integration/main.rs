//! Everything that needs a real PostgreSQL, real sockets or the real program. Each test has a database of its own on a
//! server that the program's own launcher starts for the test run.

mod harness;

mod api_basics;
mod api_batch;
mod api_connections;
mod api_health;
mod api_idempotency;
mod api_reset;
mod api_sessions;
mod api_usage;
mod api_sims;
mod api_consumption;
mod config;
mod corrections;
mod counters;
mod crash;
mod cycles;
mod database_away;
mod duplicates;
mod failures;
mod import;
mod interrupted_import;
mod invoices;
mod isolation;
mod layering;
mod maintenance;
mod migrations;
mod mosquitto;
mod outage;
mod pipeline;
mod quarantine;
mod reconcile;
mod retention;
mod rollup_calendar;
mod rollup_interleavings;
mod rollup_model;
mod rollup_storm;
mod rollup_worker;
mod rollups;
mod settings;
mod sim_sync;
mod storm;
mod tenants;
mod unknown_sims;
mod usage_import;
