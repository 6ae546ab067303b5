//! The one JSON object that a run prints.

use crate::drive::{Measured, Plan};
use crate::histogram::Histogram;
use crate::json;

/// Members of a JSON object in the order they are added.
pub struct Report {
    text: Vec<u8>,
}

impl Report {
    pub fn new(mode: &str) -> Self {
        let mut report = Self { text: vec![b'{'] };
        report.text("mode", mode);
        report
    }

    fn name(&mut self, name: &str) {
        if self.text.len() > 1 {
            self.text.extend_from_slice(b", ");
        }
        json::write_string(&mut self.text, name.as_bytes());
        self.text.extend_from_slice(b": ");
    }

    pub fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        json::write_string(&mut self.text, value.as_bytes());
    }

    pub fn whole(&mut self, name: &str, value: u64) {
        self.raw(name, &value.to_string());
    }

    pub fn real(&mut self, name: &str, value: f64, digits: usize) {
        let value = if value.is_finite() {
            format!("{value:.digits$}")
        } else {
            "null".into()
        };
        self.raw(name, &value);
    }

    pub fn truth(&mut self, name: &str, value: bool) {
        self.raw(name, if value { "true" } else { "false" });
    }

    fn raw(&mut self, name: &str, value: &str) {
        self.name(name);
        self.text.extend_from_slice(value.as_bytes());
    }

    fn object(&mut self, name: &str, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self { text: vec![b'{'] };
        fill(&mut inner);
        self.raw(name, &inner.finish());
    }

    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.text).into_owned() + "}"
    }

    pub fn plan(&mut self, plan: &Plan) {
        self.text("header", plan.form.name());
        self.whole("connections", plan.connections as u64);
        self.whole("depth", plan.depth as u64);
    }

    /// Quantiles of times in ns, as µs.
    pub fn latency(&mut self, name: &str, times: &Histogram) {
        let micros = |ns: u64| ns as f64 / 1e3;
        self.object(name, |object| {
            for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
                object.real(name, micros(times.quantile(share)), 1);
            }
            object.real("max", micros(times.max()), 1);
        });
    }

    /// What all loads have in common. False when something was not as it must be.
    pub fn measured(&mut self, measured: &Measured) -> bool {
        let tally = &measured.tally;
        let seconds = measured.elapsed.as_secs_f64();
        let messages = tally.messages as f64;
        self.real("seconds", seconds, 4);
        self.text("stopped_by", measured.stopped_by);
        self.whole("requests", tally.requests);
        self.whole("unsent", measured.unsent);
        self.whole("messages", tally.messages);
        self.real("messages_per_second", messages / seconds, 0);
        self.whole("bytes_sent", tally.bytes_sent);
        self.whole("bytes_received", tally.bytes_received);
        self.latency("latency_us", &tally.latency);
        if let Some(cpu) = measured.server_cpu {
            let cpu = cpu.as_secs_f64();
            self.real("server_cpu_seconds", cpu, 4);
            self.real("cpu_us_per_message", cpu * 1e6 / messages, 3);
            self.real("messages_per_cpu_second", messages / cpu, 0);
        }
        let client = measured.client_cpu.as_secs_f64();
        self.real("client_cpu_us_per_message", client * 1e6 / messages, 3);
        self.object("errors", |object| {
            for (code, (count, remark)) in &tally.errors {
                object.object(&code.to_string(), |error| {
                    error.whole("count", *count);
                    error.text("remark", remark);
                });
            }
        });
        self.whole("wrong", tally.wrong.0);
        if tally.wrong.0 > 0 {
            self.text("first_wrong", &tally.wrong.1);
        }
        self.whole("unasked", tally.unasked);
        self.whole("server_requests", tally.server_requests);
        tally.errors.is_empty()
            && tally.wrong.0 == 0
            && tally.unasked == 0
            && measured.stopped_by != "stall"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_json_object() {
        let mut report = Report::new("send");
        report.real("rate", f64::NAN, 1);
        report.real("seconds", 1.25, 2);
        report.object("errors", |object| object.whole("2", 5));
        report.truth("ok", true);
        let expected =
            r#"{"mode": "send", "rate": null, "seconds": 1.25, "errors": {"2": 5}, "ok": true}"#;
        assert_eq!(report.finish(), expected);
    }
}
