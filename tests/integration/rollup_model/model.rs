//! The plain model: the records that were accepted and who had which SIM when. No sums are kept.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::history::{Cut, Draft, Import, Move, NETWORKS, SIMS, What};

/// What a SIM is billed by. A plan is named with the tenant whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) tenant: usize,
    pub(super) carrier: Option<usize>,
    pub(super) plan: Option<(usize, usize)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Sim {
    /// What counts from when on, oldest first; `None` from the beginning of time.
    pub(super) owners: Vec<(Option<DateTime<Utc>>, Terms)>,
    held: Option<Terms>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) sender: usize,
    pub(super) sim: usize,
    pub(super) id: String,
    pub(super) start: DateTime<Utc>,
    pub(super) end: DateTime<Utc>,
    pub(super) amounts: [i64; 5],
    pub(super) network: usize,
    pub(super) corrects: Option<String>,
}

/// A record to be sent, and what must become of it.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) record: Record,
    pub(super) expected: &'static str,
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) sims: [Sim; SIMS],
    pub(super) accepted: Vec<Record>,
    /// What is left of records after their corrections, by their place among the accepted.
    left: BTreeMap<usize, [i64; 5]>,
    next_id: usize,
}

impl Model {
    /// What drafts amount to. Those that mean nothing here, or whose outcome would hang on their order in one message, are
    /// left out.
    pub(super) fn send(&mut self, drafts: &[Draft]) -> Vec<Sent> {
        let mut sent: Vec<Sent> = Vec::new();
        for draft in drafts {
            let Some(next) = self.sent(draft) else { continue };
            let same = |other: &Sent| {
                let (a, b) = (&other.record, &next.record);
                let targets = b.corrects.is_some() && a.corrects == b.corrects;
                a.sender == b.sender && a.sim == b.sim && (a.id == b.id || targets)
            };
            if !sent.iter().any(same) {
                sent.push(next);
            }
        }
        sent
    }

    fn sent(&mut self, draft: &Draft) -> Option<Sent> {
        let earlier = |n: usize| (!self.accepted.is_empty()).then(|| n % self.accepted.len());
        match &draft.what {
            What::New { sim, start, minutes, amounts, network } => {
                let (id, end) = (self.fresh_id(), *start + TimeDelta::minutes(*minutes));
                let (sender, start, amounts) = (draft.sender, *start, *amounts);
                let record =
                    Record { sender, sim: *sim, id, start, end, amounts, network: *network, corrects: None };
                Some(Sent { record, expected: "stored" })
            }
            What::Again(n) => {
                let record = self.accepted[earlier(*n)?].clone();
                Some(Sent { record, expected: "duplicate" })
            }
            What::Altered(n) => {
                let mut record = self.accepted[earlier(*n)?].clone();
                record.end += TimeDelta::minutes(1);
                Some(Sent { record, expected: "conflict" })
            }
            What::Correction { of, cut, network, minutes } => {
                let at = earlier(*of)?;
                let (amounts, possible) = self.cut(at, *cut)?;
                let original = &self.accepted[at];
                let network = network.unwrap_or(original.network);
                let elsewhere = TimeDelta::hours(if matches!(cut, Cut::Elsewhere) { 3 } else { 0 });
                let start = original.start + elsewhere;
                let (sender, sim, corrects) = (original.sender, original.sim, Some(original.id.clone()));
                let end = start + TimeDelta::minutes(*minutes);
                let record =
                    Record { sender, sim, id: self.fresh_id(), start, end, amounts, network, corrects };
                Some(Sent { record, expected: if possible { "stored" } else { "bad_correction" } })
            }
        }
    }

    fn fresh_id(&mut self) -> String {
        self.next_id += 1;
        format!("r-{}", self.next_id)
    }

    /// Amounts of a correction, and whether it can be made. `None` for a record that is a correction itself.
    fn cut(&self, of: usize, cut: Cut) -> Option<([i64; 5], bool)> {
        let left = self.left.get(&of)?;
        Some(match cut {
            Cut::Everything => (left.map(|amount| -amount), true),
            Cut::Half => (left.map(|amount| -(amount / 2)), true),
            Cut::Less => ([1, 2, 3, 4, 5], true),
            Cut::TooMuch => ([0, 0, -left[2] - 1, 0, 0], false),
            Cut::Elsewhere => ([0; 5], false),
        })
    }

    /// Notes a record that was stored.
    pub(super) fn accept(&mut self, record: Record) {
        match &record.corrects {
            None => {
                self.left.insert(self.accepted.len(), record.amounts);
            }
            Some(target) => {
                let original = self
                    .accepted
                    .iter()
                    .position(|r| r.sender == record.sender && r.sim == record.sim && r.id == *target)
                    .expect("what is corrected was accepted");
                let left = self.left.get_mut(&original).expect("no correction itself");
                for (amount, change) in left.iter_mut().zip(record.amounts) {
                    *amount += change;
                }
            }
        }
        self.accepted.push(record);
    }

    /// Whether the SIM is the tenant's to import.
    pub(super) fn import(&mut self, import: &Import) -> bool {
        let sim = &mut self.sims[import.sim];
        let given = import.plan.map(|plan| (import.tenant, plan));
        let terms = match sim.held {
            Some(held) if held.tenant != import.tenant => return false,
            Some(held) => {
                Terms { carrier: import.carrier.or(held.carrier), plan: given.or(held.plan), ..held }
            }
            None => Terms { tenant: import.tenant, carrier: import.carrier, plan: given },
        };
        sim.held = Some(terms);
        match sim.owners.last().copied() {
            None => sim.owners.push((None, terms)),
            Some((from, newest)) if newest != terms => {
                sim.set(from.map_or(import.at, |from| from.max(import.at)), terms);
            }
            Some(_) => {}
        }
        true
    }

    /// Whether there is such a SIM.
    pub(super) fn move_sim(&mut self, to: &Move) -> bool {
        let sim = &mut self.sims[to.sim];
        let Some(held) = sim.held else { return false };
        let tenant = to.tenant.unwrap_or(held.tenant);
        let kept = held.plan.filter(|_| tenant == held.tenant);
        let plan = to.plan.map(|plan| (tenant, plan)).or(kept);
        let terms = Terms { tenant, carrier: to.carrier.or(held.carrier), plan };
        sim.held = Some(terms);
        sim.owners.retain(|(from, _)| from.is_none_or(|from| from <= to.from));
        sim.set(to.from, terms);
        true
    }

    /// What a record is billed by; `None` where the SIM is unknown to its sender.
    pub(super) fn in_force(&self, record: &Record) -> Option<Terms> {
        let owners = &self.sims[record.sim].owners;
        owners.iter().find(|(_, terms)| terms.tenant == record.sender)?;
        let owner = owners.iter().rev().find(|(from, _)| from.is_none_or(|from| from <= record.start));
        owner.map(|(_, terms)| *terms)
    }
}

impl Sim {
    fn set(&mut self, from: DateTime<Utc>, terms: Terms) {
        self.owners.retain(|(other, _)| *other != Some(from));
        self.owners.push((Some(from), terms));
    }
}

impl Record {
    pub(super) fn mccmnc(&self) -> &'static str {
        NETWORKS[self.network]
    }
}
