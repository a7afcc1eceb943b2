//! Sessions that report cumulative counters, for those who ask for them.

use chrono::{DateTime, TimeDelta, Utc};
use tokio_postgres::types::ToSql;

use crate::domain::{CounterPlace, Iccid, TenantId};

use super::{Statement, StatementMode, Store, StoreError, statement};

static FIND: Statement = statement!("find_session", INT4, TEXT, FLOAT8);
static OF_SIM: Statement = statement!("sim_sessions", INT4, TEXT, FLOAT8, TIMESTAMPTZ, TEXT, INT8);

static READINGS: Statement = statement!("session_readings", INT4, TEXT_ARRAY);
#[rustfmt::skip]
static SEED: Statement = statement!(
    "seed_sessions",
    INT4, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, TIMESTAMPTZ_ARRAY, BOOL,
);
static BEGIN: Statement = statement!("begin_sessions", INT4, TEXT_ARRAY, TEXT_ARRAY, TIMESTAMPTZ_ARRAY);
static END: Statement = statement!("end_sessions", INT4, TEXT_ARRAY, TIMESTAMPTZ_ARRAY);
static END_OF: Statement = statement!("end_sessions_of", INT4, TEXT, TIMESTAMPTZ);

/// The newest reading of a session, for one of the SIMs that it belonged to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionReading {
    pub(crate) iccid: String,
    pub(crate) session_id: String,
    pub(crate) upload_bytes: i64,
    pub(crate) download_bytes: i64,
    pub(crate) taken_at: DateTime<Utc>,
    /// Where its beginning was told.
    pub(crate) began_at: Option<DateTime<Utc>>,
    /// Where its end was told, and nothing newer since.
    pub(crate) ended_at: Option<DateTime<Utc>>,
}

impl SessionReading {
    pub(crate) fn place(&self) -> CounterPlace {
        CounterPlace { upload_bytes: self.upload_bytes, download_bytes: self.download_bytes }
    }
}

/// A reading from which the next one of its session counts; it adds nothing itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeededSession {
    pub(crate) iccid: Iccid,
    pub(crate) session_id: String,
    pub(crate) upload_bytes: i64,
    pub(crate) download_bytes: i64,
    pub(crate) taken_at: DateTime<Utc>,
}

/// A session as its readings tell it; amounts are decimal text, because sums may leave 64 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionUsage {
    pub iccid: String,
    pub upload_bytes: String,
    pub download_bytes: String,
    pub total_bytes: String,
    /// When its first reading was stored.
    pub created_at: DateTime<Utc>,
    /// When it counts as over, unless another reading comes.
    pub expires_at: DateTime<Utc>,
}

/// A session of a SIM; amounts are decimal text.
#[derive(Clone, Debug)]
pub(crate) struct SimSession {
    pub(crate) session_id: String,
    pub(crate) upload_bytes: String,
    pub(crate) download_bytes: String,
    pub(crate) total_bytes: String,
    /// When its first reading was stored.
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) last_reading_at: DateTime<Utc>,
    /// When it counts as over, unless another reading comes.
    pub(crate) expires_at: DateTime<Utc>,
}

/// A place in the order of a SIM's sessions, the one that was read last first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionPlace {
    pub(crate) last_reading_at: DateTime<Utc>,
    pub(crate) session_id: String,
}

impl SessionPlace {
    /// Before every session.
    pub(crate) fn newest() -> Self {
        Self { last_reading_at: DateTime::<Utc>::MAX_UTC, session_id: String::new() }
    }
}

impl Store {
    /// The session of a tenant with this id; it expires `idle` after its newest reading.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn session(
        &self,
        tenant: TenantId,
        session_id: &str,
        idle: TimeDelta,
    ) -> Result<Option<SessionUsage>, StoreError> {
        let client = self.client().await?;
        let idle_seconds = idle.num_seconds() as f64;
        let rows = FIND.rows(&client, self.mode, &[&tenant.0, &session_id, &idle_seconds]).await?;
        Ok(rows.first().map(|row| SessionUsage {
            iccid: row.get("iccid"),
            upload_bytes: row.get("upload"),
            download_bytes: row.get("download"),
            total_bytes: row.get("total"),
            created_at: row.get("created_at"),
            expires_at: row.get("expires_at"),
        }))
    }

    /// The newest readings of these sessions; one that moved between SIMs has one for each.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn session_readings(
        &self,
        tenant: TenantId,
        session_ids: &[&str],
    ) -> Result<Vec<SessionReading>, StoreError> {
        let client = self.client().await?;
        let rows = READINGS.rows(&client, StatementMode::FOR_MANY, &[&tenant.0, &session_ids]).await?;
        let readings = rows.iter().map(|row| SessionReading {
            iccid: row.get("iccid"),
            session_id: row.get("session_id"),
            upload_bytes: row.get("upload_counter"),
            download_bytes: row.get("download_counter"),
            taken_at: row.get("last_sample_at"),
            began_at: row.get("began_at"),
            ended_at: row.get("ended_at"),
        });
        Ok(readings.collect())
    }

    /// Gives sessions that have no reading one from which the next one counts. With `moved`, also those whose reading is older:
    /// in between they belonged to another SIM.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn seed_sessions(
        &self,
        tenant: TenantId,
        seeds: &[SeededSession],
        moved: bool,
    ) -> Result<(), StoreError> {
        let client = self.client().await?;
        let iccids: Vec<&str> = seeds.iter().map(|seed| seed.iccid.as_str()).collect();
        let ids: Vec<&str> = seeds.iter().map(|seed| seed.session_id.as_str()).collect();
        let uploads: Vec<i64> = seeds.iter().map(|seed| seed.upload_bytes).collect();
        let downloads: Vec<i64> = seeds.iter().map(|seed| seed.download_bytes).collect();
        let taken: Vec<DateTime<Utc>> = seeds.iter().map(|seed| seed.taken_at).collect();
        let params: [&(dyn ToSql + Sync); 7] =
            [&tenant.0, &iccids, &ids, &uploads, &downloads, &taken, &moved];
        SEED.execute(&client, self.mode, &params).await?;
        Ok(())
    }

    /// Begins sessions at zero. What is stored under their ids and is older was of other sessions.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn begin_sessions(
        &self,
        tenant: TenantId,
        begun: &[SeededSession],
    ) -> Result<(), StoreError> {
        let client = self.client().await?;
        let iccids: Vec<&str> = begun.iter().map(|session| session.iccid.as_str()).collect();
        let ids: Vec<&str> = begun.iter().map(|session| session.session_id.as_str()).collect();
        let at: Vec<DateTime<Utc>> = begun.iter().map(|session| session.taken_at).collect();
        BEGIN.execute(&client, self.mode, &[&tenant.0, &iccids, &ids, &at]).await?;
        Ok(())
    }

    /// Ends sessions that were not read after their end.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn end_sessions(
        &self,
        tenant: TenantId,
        ended: &[(&str, DateTime<Utc>)],
    ) -> Result<(), StoreError> {
        let client = self.client().await?;
        let (ids, at): (Vec<&str>, Vec<DateTime<Utc>>) = ended.iter().copied().unzip();
        END.execute(&client, StatementMode::FOR_MANY, &[&tenant.0, &ids, &at]).await?;
        Ok(())
    }

    /// Ends every session whose id begins with `origin` and a colon, and that was not read after `at`.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn end_sessions_of(
        &self,
        tenant: TenantId,
        origin: &str,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let client = self.client().await?;
        END_OF.execute(&client, self.mode, &[&tenant.0, &origin, &at]).await?;
        Ok(())
    }

    /// Sessions of a SIM that belong to a tenant, the one that was read last first, after a place.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn sim_sessions(
        &self,
        tenant: TenantId,
        iccid: &str,
        idle: TimeDelta,
        after: &SessionPlace,
        limit: i64,
    ) -> Result<Vec<SimSession>, StoreError> {
        let client = self.client().await?;
        let idle_seconds = idle.num_seconds() as f64;
        let params: [&(dyn ToSql + Sync); 6] =
            [&tenant.0, &iccid, &idle_seconds, &after.last_reading_at, &after.session_id, &limit];
        let rows = OF_SIM.rows(&client, self.mode, &params).await?;
        let sessions = rows.iter().map(|row| SimSession {
            session_id: row.get("session_id"),
            upload_bytes: row.get("upload"),
            download_bytes: row.get("download"),
            total_bytes: row.get("total"),
            created_at: row.get("created_at"),
            last_reading_at: row.get("last_reading_at"),
            expires_at: row.get("expires_at"),
        });
        Ok(sessions.collect())
    }
}
