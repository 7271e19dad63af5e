//! What is asked of series.

use serde_json::{Value, json};

use super::handle::{dimensions, invalid, time};
use super::store::{Metrics, Point, Series, Window};
use crate::api::{ApiError, Call};
use crate::clock;

pub fn list(metrics: &Metrics, call: &Call) -> Result<Value, ApiError> {
    let wanted = call.list("Dimensions");
    let fits = |series: &Series| {
        call.str("Namespace")
            .is_none_or(|it| series.namespace == it)
            && call.str("MetricName").is_none_or(|it| series.metric == it)
            && wanted.iter().all(|filter| {
                let held = series
                    .dimensions
                    .get(filter["Name"].as_str().unwrap_or_default());
                held.is_some_and(|held| filter["Value"].as_str().is_none_or(|value| value == held))
            })
    };
    let found: Vec<Value> = metrics
        .all(&call.region)
        .iter()
        .filter(|it| fits(it))
        .map(shown)
        .collect();
    Ok(json!({"Metrics": found}))
}

fn shown(series: &Series) -> Value {
    let pairs: Vec<Value> = series
        .dimensions
        .iter()
        .map(|(name, value)| json!({"Name": name, "Value": value}))
        .collect();
    json!({"Namespace": series.namespace, "MetricName": series.metric, "Dimensions": pairs})
}

/// The points of each period between two times, oldest first.
fn points(
    metrics: &Metrics,
    region: &str,
    series: &Series,
    (from, to): (i64, i64),
    period: i64,
) -> Vec<(i64, Point)> {
    let length = metrics.period(period);
    let mut at = from - from.rem_euclid(length);
    let mut found = Vec::new();
    // Nothing older is kept.
    at = at.max(clock::now() - 3 * 60 * metrics.minute() - length);
    while at < to {
        let window = Window {
            from: at,
            to: at + length,
        };
        if let Some(point) = metrics.within(region, series, window) {
            found.push((at, point));
        }
        at += length;
    }
    found
}

fn span(call: &Call) -> Result<(i64, i64), ApiError> {
    match (
        time(&call.params["StartTime"]),
        time(&call.params["EndTime"]),
    ) {
        (Some(from), Some(to)) if from < to => Ok((from, to)),
        (Some(_), Some(_)) => Err(invalid(
            "The parameter StartTime must be less than the parameter EndTime.",
        )),
        _ => Err(invalid(
            "The parameters StartTime and EndTime are required.",
        )),
    }
}

fn series(value: &Value) -> Series {
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    Series {
        namespace: text("Namespace"),
        metric: text("MetricName"),
        dimensions: dimensions(&value["Dimensions"]),
    }
}

pub fn data(metrics: &Metrics, call: &Call) -> Result<Value, ApiError> {
    let span = span(call)?;
    let newest_first = call.str("ScanBy") != Some("TimestampAscending");
    let mut results = Vec::new();
    for query in call.list("MetricDataQueries") {
        if query["ReturnData"] == false {
            continue;
        }
        let id = query["Id"].as_str().unwrap_or_default();
        let wanted = &query["MetricStat"];
        if !wanted.is_object() {
            return Err(invalid(format!(
                "The embedded AWS has no metric math: the query {id} needs MetricStat"
            )));
        }
        let statistic = wanted["Stat"].as_str().unwrap_or("Average");
        let period = wanted["Period"].as_i64().unwrap_or(60);
        let mut found = points(
            metrics,
            &call.region,
            &series(&wanted["Metric"]),
            span,
            period,
        );
        if newest_first {
            found.reverse();
        }
        let (mut times, mut values) = (Vec::new(), Vec::new());
        for (at, point) in found {
            let value = point.statistic(statistic).ok_or_else(|| {
                invalid(format!(
                    "The value {statistic} is not supported for parameter Stat."
                ))
            })?;
            times.push(clock::epoch_seconds(at));
            values.push(value);
        }
        let label = query["Label"]
            .as_str()
            .unwrap_or_else(|| wanted["Metric"]["MetricName"].as_str().unwrap_or_default());
        results.push(json!({"Id": id, "Label": label, "Timestamps": times, "Values": values, "StatusCode": "Complete"}));
    }
    Ok(json!({"MetricDataResults": results, "Messages": []}))
}

pub fn statistics(metrics: &Metrics, call: &Call) -> Result<Value, ApiError> {
    let period = call.integer("Period").unwrap_or(60);
    let found = points(
        metrics,
        &call.region,
        &series(&call.params),
        span(call)?,
        period,
    );
    let unit = call.str("Unit").unwrap_or("None");
    let shown: Vec<Value> = found
        .iter()
        .map(|(at, point)| {
            let mut shown = json!({"Timestamp": clock::epoch_seconds(*at), "Unit": unit});
            for name in call.strings("Statistics") {
                if let Some(value) = point.statistic(name) {
                    shown[name] = json!(value);
                }
            }
            shown
        })
        .collect();
    Ok(json!({"Label": call.str("MetricName"), "Datapoints": shown}))
}
