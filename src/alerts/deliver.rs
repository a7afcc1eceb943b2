use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use rand::RngExt;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::domain::Clock;
use crate::store::alert_webhooks::{ClaimedDelivery, DeliveryResult};
use crate::store::{Store, StoreError};

use super::metrics::AlertMetrics;
use super::sender::Sender;
use super::{AlertOptions, WebhookOptions};

/// Beyond its timeout, an attempt gets so long to be noted before it is taken for lost.
const LOST_AFTER: Duration = Duration::from_secs(30);
/// What is under way at the end gets so long; what is not noted by then is sent again, under the same id.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Sends to webhooks what waits for them, until `stop`. Several instances share the work: a delivery is claimed with a time at
/// which it is free again, so that what a kill interrupts is sent by somebody.
pub async fn run(
    store: Store,
    clock: Clock,
    options: AlertOptions,
    metrics: Arc<AlertMetrics>,
    stop: CancellationToken,
) {
    let sender = Sender::new(&options.webhook, clock);
    let courier = Arc::new(Courier { store, clock, options: options.webhook, sender, metrics });
    let mut under_way = JoinSet::new();
    // By webhook: one that is called is not called by us for something else, so slow ones do not take every place.
    let mut busy: HashMap<i32, usize> = HashMap::new();
    let mut ticks = tokio::time::interval(options.pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut fails = false;
    loop {
        let mut more = false;
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = under_way.join_next() => {
                // A panic is a defect that is logged; the delivery is free again after a while.
                let webhook = ended.unwrap_or_default();
                if let Some(calls) = busy.get_mut(&webhook) {
                    *calls -= 1;
                }
                busy.retain(|_, calls| *calls > 0);
                more = true;
            }
            _ = ticks.tick() => {}
        }
        match courier.claim(&busy, under_way.len(), !more).await {
            Ok(claimed) => {
                fails = false;
                for delivery in claimed {
                    *busy.entry(delivery.webhook_id).or_default() += 1;
                    let courier = courier.clone();
                    under_way.spawn(async move { courier.attempt(delivery).await });
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut fails, true) {
                    warn!(%error, "webhooks wait for the database");
                }
            }
        }
    }
    tokio::time::timeout(END_WITHIN, async { while under_way.join_next().await.is_some() {} }).await.ok();
}

struct Courier {
    store: Store,
    clock: Clock,
    options: WebhookOptions,
    sender: Sender,
    metrics: Arc<AlertMetrics>,
}

impl Courier {
    async fn claim(
        &self,
        busy: &HashMap<i32, usize>,
        under_way: usize,
        count_waiting: bool,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        if count_waiting {
            self.metrics.waiting.set(self.store.alert_delivery_backlog().await?);
        }
        let free = self.options.concurrency.saturating_sub(under_way);
        if free == 0 {
            return Ok(Vec::new());
        }
        let busy: Vec<i32> = busy.keys().copied().collect();
        let now = self.clock.now();
        let lost_at = now + delta(self.options.timeout + LOST_AFTER);
        let free = i64::try_from(free).unwrap_or(i64::MAX);
        self.store.claim_alert_deliveries(now, free, lost_at, &busy).await
    }

    /// Returns the webhook.
    async fn attempt(&self, delivery: ClaimedDelivery) -> i32 {
        let answered = self.sender.post(&delivery).await;
        let delivered = answered.error.is_none();
        let now = self.clock.now();
        let again = !delivered && delivery.tries_left > 0;
        let result = DeliveryResult {
            delivered,
            next_attempt_at: again.then(|| now + delta(pause(&self.options, &delivery))),
            status: answered.status,
            error: answered.error,
        };
        self.metrics.attempt(match (delivered, again) {
            (true, _) => "delivered",
            (false, true) => "retried",
            (false, false) => "given_up",
        });
        debug!(delivery = delivery.id, status = result.status, error = result.error, "webhook called");
        if let Err(error) = self.store.finish_alert_delivery(&delivery, &result, now).await {
            warn!(delivery = delivery.id, %error, "what became of a delivery was not noted; it will be sent again");
        }
        delivery.webhook_id
    }
}

/// Doubles with each attempt up to a limit, drawn from the upper half so that many do not return in step.
fn pause(options: &WebhookOptions, delivery: &ClaimedDelivery) -> Duration {
    let done = (options.attempts - delivery.tries_left - 1).clamp(0, 30) as u32;
    let full = options.first_retry.saturating_mul(1 << done).min(options.longest_retry);
    full.mul_f64(rand::rng().random_range(0.5..=1.0))
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}
