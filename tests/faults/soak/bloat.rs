//! How much larger tables are than their rows need.

use tokio_postgres::Client;

use super::watch::megabytes;

/// A table with its partitions, in bytes; first the heap and then the indexes.
pub(super) struct Size {
    pub(super) table: String,
    before: (u64, u64),
    after: (u64, u64),
}

impl Size {
    pub(super) fn before(&self) -> u64 {
        self.before.0 + self.before.1
    }

    pub(super) fn ratio(&self) -> f64 {
        self.before() as f64 / (self.after.0 + self.after.1).max(1) as f64
    }

    pub(super) fn tell(&self) {
        println!(
            "| `{}` | {:.1} + {:.1} | {:.1} + {:.1} | {:.2} |",
            self.table,
            megabytes(self.before.0),
            megabytes(self.before.1),
            megabytes(self.after.0),
            megabytes(self.after.1),
            self.ratio()
        );
    }
}

/// Sizes as they are and after `VACUUM FULL`, of everything but the tables that only grow: records and their keys.
pub(super) async fn measure(client: &Client) -> Vec<Size> {
    let before = sizes(client).await;
    for (table, ..) in &before {
        client.batch_execute(&format!("VACUUM FULL {table}")).await.expect("nobody else is there");
    }
    let after = sizes(client).await;
    let pairs = before.into_iter().zip(after);
    let mut sizes: Vec<Size> = pairs
        .map(|((table, heap, indexes), (same, heap_after, indexes_after))| {
            assert_eq!(table, same, "tables stay");
            Size { table, before: (heap, indexes), after: (heap_after, indexes_after) }
        })
        .collect();
    sizes.sort_by_key(|size| std::cmp::Reverse(size.before()));
    sizes
}

async fn sizes(client: &Client) -> Vec<(String, u64, u64)> {
    let sql = "SELECT root::text, sum(pg_table_size(oid))::bigint, sum(pg_indexes_size(oid))::bigint
               FROM (SELECT c.oid, coalesce(pg_partition_root(c.oid), c.oid)::regclass AS root FROM pg_class c
                     WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace) AS leaf
               WHERE root NOT IN ('usage_records'::regclass, 'record_keys'::regclass)
               GROUP BY root ORDER BY root::text";
    let rows = client.query(sql, &[]).await.expect("sizes");
    rows.iter().map(|row| (row.get(0), row.get::<_, i64>(1) as u64, row.get::<_, i64>(2) as u64)).collect()
}
