//! Usage by carrier, by place and by SIM.

use chrono::{DateTime, NaiveDate, Utc};

use crate::domain::TenantId;

use super::consumption::{Scope, UsageFilter};
use super::consumption_trend::{Volume, volume};
use super::{Statement, Store, StoreError, statement};

static CARRIERS: Statement = statement!("carrier_shares", INT4, DATE, DATE, TEXT_ARRAY, TEXT_ARRAY);
static DETAILS: Statement =
    statement!("usage_details", INT4, DATE_ARRAY, DATE_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT, TEXT, INT8, INT8);
static PLACES: Statement = statement!("sim_places", INT4, DATE, DATE, TEXT_ARRAY, TEXT_ARRAY, INT8);
static REGIONS: Statement = statement!("regions", INT4, DATE, DATE, TEXT_ARRAY, TEXT_ARRAY, INT8);
static ICCIDS: Statement = statement!("iccids_with_usage", INT4, INT8, INT8);
static NETWORK_CARRIERS: Statement = statement!("network_carriers", TEXT_ARRAY);

/// A carrier's part of a range; percentages of the whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CarrierShare {
    pub(crate) carrier_id: i32,
    pub(crate) name: String,
    /// Home network; empty where none is known.
    pub(crate) mccmnc: String,
    pub(crate) volume: Volume,
    pub(crate) sim_percentage: f64,
    pub(crate) cost_percentage: f64,
    pub(crate) data_percentage: f64,
}

/// Usage of a SIM in a serving network and period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsageDetail {
    /// Place of the period in the ranges that were asked for, from 0.
    pub(crate) period: usize,
    /// Empty where unknown.
    pub(crate) network: String,
    pub(crate) iccid: String,
    /// Decimal text.
    pub(crate) bytes: String,
    pub(crate) latest_event_at: Option<DateTime<Utc>>,
}

/// Where a page of details begins: after a network and SIM of the first period, and after so many more rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DetailsFrom {
    pub(crate) network: String,
    pub(crate) iccid: String,
    pub(crate) offset: i64,
}

/// A SIM with a place and usage.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) sim_id: String,
    pub(crate) iccid: String,
    pub(crate) name: String,
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
    pub(crate) status: String,
    pub(crate) carrier: String,
}

/// Usage of the SIMs of a place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Region {
    pub(crate) id: String,
    pub(crate) place: String,
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
    /// Decimal text.
    pub(crate) bytes: String,
    pub(crate) megabytes: f64,
    pub(crate) gigabytes: f64,
    pub(crate) sims: i64,
}

impl Store {
    /// Carriers with usage, the largest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn usage_by_carriers(
        &self,
        tenant: TenantId,
        scope: &Scope,
    ) -> Result<Vec<CarrierShare>, StoreError> {
        let client = self.client().await?;
        let Scope { first, last, filter } = scope;
        let rows = CARRIERS
            .rows(&client, self.mode, &[&tenant.0, first, last, &filter.iccids, &filter.networks])
            .await?;
        let carriers = rows.iter().map(|row| CarrierShare {
            carrier_id: row.get("carrier_id"),
            name: row.get("name"),
            mccmnc: row.get("mccmnc"),
            volume: volume(row),
            sim_percentage: row.get("sim_percentage"),
            cost_percentage: row.get("cost_percentage"),
            data_percentage: row.get("data_percentage"),
        });
        Ok(carriers.collect())
    }

    /// At most `limit` rows by period, network and SIM, in this order.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn usage_details(
        &self,
        tenant: TenantId,
        ranges: &[(NaiveDate, NaiveDate)],
        filter: &UsageFilter,
        from: &DetailsFrom,
        limit: i64,
    ) -> Result<Vec<UsageDetail>, StoreError> {
        let (firsts, lasts): (Vec<NaiveDate>, Vec<NaiveDate>) = ranges.iter().copied().unzip();
        let client = self.client().await?;
        let UsageFilter { iccids, networks } = filter;
        let DetailsFrom { network, iccid, offset } = from;
        let rows = DETAILS
            .rows(
                &client,
                self.mode,
                &[&tenant.0, &firsts, &lasts, iccids, networks, network, iccid, &limit, offset],
            )
            .await?;
        let details = rows.iter().map(|row| UsageDetail {
            // PostgreSQL counts from 1.
            period: usize::try_from(row.get::<_, i32>("period") - 1).unwrap_or(0),
            network: row.get("network"),
            iccid: row.get("sim"),
            bytes: row.get("bytes"),
            latest_event_at: row.get("latest_event_at"),
        });
        Ok(details.collect())
    }

    /// At most `limit` SIMs with a place and usage in a range, by ICCID.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn sim_places(
        &self,
        tenant: TenantId,
        scope: &Scope,
        limit: i64,
    ) -> Result<Vec<Place>, StoreError> {
        let client = self.client().await?;
        let Scope { first, last, filter } = scope;
        let rows = PLACES
            .rows(&client, self.mode, &[&tenant.0, first, last, &filter.iccids, &filter.networks, &limit])
            .await?;
        let places = rows.iter().map(|row| Place {
            sim_id: row.get("sim_id"),
            iccid: row.get("iccid"),
            name: row.get("name"),
            latitude: row.get("latitude"),
            longitude: row.get("longitude"),
            status: row.get("status"),
            carrier: row.get("carrier"),
        });
        Ok(places.collect())
    }

    /// At most `limit` places with usage in a range, the largest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn usage_by_places(
        &self,
        tenant: TenantId,
        scope: &Scope,
        limit: i64,
    ) -> Result<Vec<Region>, StoreError> {
        let client = self.client().await?;
        let Scope { first, last, filter } = scope;
        let rows = REGIONS
            .rows(&client, self.mode, &[&tenant.0, first, last, &filter.iccids, &filter.networks, &limit])
            .await?;
        let regions = rows.iter().map(|row| Region {
            id: row.get("id"),
            place: row.get("place"),
            latitude: row.get("latitude"),
            longitude: row.get("longitude"),
            bytes: row.get("bytes"),
            megabytes: row.get("megabytes"),
            gigabytes: row.get("gigabytes"),
            sims: row.get("sims"),
        });
        Ok(regions.collect())
    }

    /// ICCIDs that ever had usage, in their order.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn iccids_with_usage(
        &self,
        tenant: TenantId,
        limit: i64,
        offset: i64,
    ) -> Result<Vec<String>, StoreError> {
        let client = self.client().await?;
        let rows = ICCIDS.rows(&client, self.mode, &[&tenant.0, &limit, &offset]).await?;
        Ok(rows.iter().map(|row| row.get("iccid")).collect())
    }

    /// Home networks with the name of the carrier that has each; carriers are shared by all tenants.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn network_carriers(
        &self,
        networks: &[String],
    ) -> Result<Vec<(String, String)>, StoreError> {
        let client = self.client().await?;
        let rows = NETWORK_CARRIERS.rows(&client, self.mode, &[&networks]).await?;
        Ok(rows.iter().map(|row| (row.get("mccmnc"), row.get("name"))).collect())
    }
}
