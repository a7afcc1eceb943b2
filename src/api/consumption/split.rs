//! What the points of a chart are made of.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::store::consumption::{Part, Split};

use super::number::Whole;

/// Parts with a name of their own; the smaller ones are one part together.
const SERIES_AT_MOST: usize = 50;
const DIRECTIONS: [(&str, &str); 3] =
    [("download", "Download"), ("upload", "Upload"), ("undirected", "Not told apart")];
const OTHER: (&str, &str) = ("other", "Other");

pub(super) const SPLITS: [(&str, Split); 3] =
    [("carrier", Split::Carrier), ("network", Split::Network), ("direction", Split::Direction)];

/// A part of all points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Series {
    /// Of a carrier, as in `/api/consumption/carriers`; a serving network, or `unknown`; or `download`, `upload`, and
    /// `undirected` for volume that was reported as a total alone. `other` for the rest of more than 50.
    #[schema(example = "1")]
    id: String,
    #[schema(example = "Salt")]
    name: String,
}

/// A part of one point; those of a point add up to its `bytes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PointPart {
    /// Of a series.
    #[schema(example = "1")]
    id: String,
    #[schema(value_type = i64, example = 4096)]
    bytes: Whole,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_exact: Option<String>,
}

/// All series, the largest first, directions in their own order, and the parts of each of `points` points in the same order;
/// nothing stands for 0.
pub(super) fn split(points: usize, parts: &[Part], by: Split) -> (Vec<Series>, Vec<Vec<PointPart>>) {
    let mut amounts: Vec<HashMap<(String, String), i128>> = vec![HashMap::new(); points];
    for part in parts {
        let Some(of_point) = amounts.get_mut(part.period) else { continue };
        for (id, name, bytes) in named(part, by) {
            *of_point.entry((id, name)).or_default() += bytes;
        }
    }
    let mut sums: HashMap<&(String, String), i128> = HashMap::new();
    for (key, bytes) in amounts.iter().flatten().filter(|(_, bytes)| **bytes != 0) {
        *sums.entry(key).or_default() += bytes;
    }
    let mut ranked: Vec<_> = sums.into_iter().map(|(key, bytes)| (key.clone(), bytes)).collect();
    match by {
        Split::Direction => {
            ranked.sort_by_key(|((id, _), _)| DIRECTIONS.iter().position(|(known, _)| known == id));
        }
        _ => ranked.sort_by(|(a, of_a), (b, of_b)| (Reverse(of_a), a).cmp(&(Reverse(of_b), b))),
    }
    let kept = if ranked.len() > SERIES_AT_MOST { SERIES_AT_MOST - 1 } else { ranked.len() };
    let mut series: Vec<Series> = Vec::with_capacity(kept + 1);
    series.extend(ranked[..kept].iter().map(|((id, name), _)| Series { id: id.clone(), name: name.clone() }));
    if kept < ranked.len() {
        series.push(Series { id: OTHER.0.into(), name: OTHER.1.into() });
    }
    let of_points = amounts.iter().map(|of_point| {
        let mut shown: Vec<PointPart> = Vec::new();
        let mut add = |id: &str, bytes: i128| {
            if bytes != 0 {
                let bytes = Whole(bytes.to_string());
                shown.push(PointPart { id: id.to_owned(), bytes_exact: bytes.exact(), bytes });
            }
        };
        for (key, _) in &ranked[..kept] {
            add(&key.0, of_point.get(key).copied().unwrap_or(0));
        }
        add(OTHER.0, ranked[kept..].iter().filter_map(|(key, _)| of_point.get(key)).sum());
        shown
    });
    (series, of_points.collect())
}

/// What a row adds to: id, name and bytes.
fn named(part: &Part, by: Split) -> Vec<(String, String, i128)> {
    // Sums of at most 30 digits (`numeric(30,0)`) fit.
    let amount = |text: &str| text.parse::<i128>().unwrap_or(0);
    let total = amount(&part.total);
    match by {
        Split::Carrier => vec![(part.carrier_id.to_string(), part.carrier.clone(), total)],
        Split::Network if part.network.is_empty() => vec![("unknown".into(), "Unknown".into(), total)],
        Split::Network => vec![(part.network.clone(), part.network.clone(), total)],
        Split::Direction => {
            let (upload, download) = (amount(&part.upload), amount(&part.download));
            let amounts = [download, upload, total - upload - download];
            DIRECTIONS
                .iter()
                .zip(amounts)
                .map(|((id, name), bytes)| ((*id).into(), (*name).into(), bytes))
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(period: usize, carrier_id: i32, [upload, download, total]: [i64; 3]) -> Part {
        Part {
            period,
            carrier_id,
            carrier: format!("C{carrier_id}"),
            network: String::new(),
            upload: upload.to_string(),
            download: download.to_string(),
            total: total.to_string(),
        }
    }

    fn shown(split: (Vec<Series>, Vec<Vec<PointPart>>)) -> (Vec<String>, Vec<Vec<String>>) {
        let one = |part: PointPart| format!("{} {}", part.id, part.bytes.0);
        let points = split.1.into_iter().map(|parts| parts.into_iter().map(one).collect());
        (split.0.into_iter().map(|series| series.id).collect(), points.collect())
    }

    #[test]
    fn the_largest_come_first_and_nothing_is_left_out() {
        let parts = [part(0, 1, [0, 0, 5]), part(2, 1, [0, 0, 6]), part(2, 2, [0, 0, 30])];
        let (series, points) = shown(split(3, &parts, Split::Carrier));
        assert_eq!(series, ["2", "1"]);
        assert_eq!(points, [vec!["1 5"], vec![], vec!["2 30", "1 6"]]);
    }

    /// Catches volume that disappears because its sender told only the total, and a total below its parts.
    #[test]
    fn directions_add_up_to_the_total() {
        let parts = [part(0, 0, [3, 4, 10]), part(1, 0, [3, 4, 7]), part(2, 0, [3, 4, 5])];
        let (series, points) = shown(split(3, &parts, Split::Direction));
        assert_eq!(series, ["download", "upload", "undirected"]);
        assert_eq!(points[0], ["download 4", "upload 3", "undirected 3"]);
        assert_eq!(points[1], ["download 4", "upload 3"]);
        assert_eq!(points[2], ["download 4", "upload 3", "undirected -2"]);
    }

    #[test]
    fn the_smallest_of_many_are_one() {
        let parts: Vec<Part> = (1..=60).map(|n| part(0, n, [0, 0, i64::from(n)])).collect();
        let (series, points) = shown(split(1, &parts, Split::Carrier));
        assert_eq!((series.len(), series[0].as_str(), series[49].as_str()), (50, "60", "other"));
        // 1 + 2 + … + 11
        assert_eq!(points[0][49], "other 66");
    }
}
