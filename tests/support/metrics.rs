//! The contents of the admin listener's `/metrics`.

use std::collections::BTreeMap;

/// The gauges that are zero on an idle server.
pub const QUIET: [&str; 9] = [
    "roadrunner_instances",
    "roadrunner_instances_running",
    "roadrunner_sessions_held",
    "roadrunner_sessions_hibernated",
    "roadrunner_requests_waiting",
    "roadrunner_bus_subscriptions",
    "roadrunner_exchanges_in_flight",
    "roadrunner_requests_in_flight",
    "roadrunner_buffered_bytes",
];

/// One scrape.
#[derive(Clone, Debug)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the text format of Prometheus.
    ///
    /// # Panics
    /// When a line is not of that format.
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(
            samples
                .map(|line| {
                    let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("not a sample: {line:?}"));
                    let value = value.parse().unwrap_or_else(|_| panic!("not a number: {line:?}"));
                    (name.to_owned(), value)
                })
                .collect(),
        )
    }

    /// The value of a sample, by its name and labels as written; 0 when there is none.
    pub fn sample(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// The sum of a family, over all of its samples whose labels contain this text.
    ///
    /// # Panics
    /// When there is no such family: a typing error would otherwise read as 0.
    pub fn sum(&self, family: &str, label: &str) -> f64 {
        let samples: Vec<_> = self
            .0
            .iter()
            .filter(|(name, _)| {
                name.strip_prefix(family).is_some_and(|labels| labels.is_empty() || labels.starts_with('{'))
            })
            .collect();
        assert!(!samples.is_empty(), "there is no metric {family}");
        samples.iter().filter(|(name, _)| name.contains(label)).map(|(_, value)| **value).sum()
    }

    /// The number of requests that ended with this outcome.
    pub fn outcome(&self, outcome: &str) -> f64 {
        self.sum("roadrunner_requests_total", &format!("outcome=\"{outcome}\""))
    }

    /// The gauges that should be zero but are not.
    pub fn busy(&self) -> Vec<(&'static str, f64)> {
        QUIET.iter().map(|name| (*name, self.sum(name, ""))).filter(|(_, value)| *value != 0.0).collect()
    }
}
