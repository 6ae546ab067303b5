//! rmqload: what a RocketMQ broker on this machine can take, and what it costs.
//!
//! Speaks the remoting protocol with JSON or binary headers over loopback only, is bounded in
//! count, bytes and time, checks every answer, and prints one JSON object. Exit codes: 0 all
//! answers right, 1 some wrong, 2 bad arguments, 3 the run failed.

mod args;
mod connection;
mod control;
mod drive;
mod echo;
mod fault;
mod flow;
mod frame;
mod histogram;
mod json;
mod null_server;
mod pace;
mod pull;
mod record;
mod report;
mod send;
mod system;
mod template;

use std::process::ExitCode;
use std::time::Duration;

use args::{describe, spec, Args, Spec};
use drive::Plan;
use fault::Fault;
use frame::Form;

/// Options of send, pull and flow.
const COMMON: &[Spec] = &[
    spec(
        "addr",
        "IP:PORT",
        "127.0.0.1:10911",
        "the broker, on this machine",
    ),
    spec("topic", "NAME", "LoadTest", "topic"),
    spec("group", "NAME", "LoadGroup", "producer or consumer group"),
    spec("header", "FORM", "json", "json or binary"),
    spec("connections", "C", "1", "connections"),
    spec("depth", "D", "1", "requests in flight per connection"),
    spec("warm-up", "S", "0", "seconds before counting begins"),
    spec("seconds", "S", "", "stop after so many counted seconds"),
    spec(
        "rate",
        "N",
        "",
        "requests per second by the clock; latency from when they are due",
    ),
    spec(
        "timeout",
        "S",
        "10",
        "give up after so long without any answer",
    ),
    spec(
        "server-pid",
        "PID,…",
        "",
        "measure the CPU time of these processes",
    ),
    spec("cpu", "N", "", "stay on this core"),
];
const SECONDS_MAX: f64 = 3600.0;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(fault) => {
            eprintln!("rmqload: {fault}");
            ExitCode::from(fault.exit_code())
        }
    }
}

fn run(words: &[String]) -> Result<bool, Fault> {
    let (mode, rest) = match words.split_first() {
        Some((mode, rest)) if !rest.iter().any(|word| word == "--help") => (mode.as_str(), rest),
        _ => ("--help", words),
    };
    match mode {
        "send" => {
            let args = Args::parse(rest, &[COMMON, send::SPECS])?;
            with_plan(&args, |plan, topic, group| {
                send::run(&args, &plan, topic, group)
            })
        }
        "flow" => {
            let args = Args::parse(rest, &[COMMON, flow::SPECS])?;
            with_plan(&args, |plan, topic, group| {
                flow::run(&args, plan, topic, group)
            })
        }
        "echo" => echo::run(&Args::parse(rest, &[echo::SPECS])?),
        "pull" => {
            let args = Args::parse(rest, &[COMMON, pull::SPECS])?;
            with_plan(&args, |plan, topic, group| {
                pull::run(&args, &plan, topic, group)
            })
        }
        "null-server" => null_server::run(&Args::parse(rest, &[null_server::SPECS])?),
        "--help" => {
            print!("{}", help());
            Ok(true)
        }
        other => Err(Fault::BadArgument(format!(
            "{other}: send, pull, flow, null-server, echo or --help is expected"
        ))),
    }
}

/// Runs a load with the options that all loads share.
fn with_plan(
    args: &Args,
    load: impl FnOnce(Plan, &str, &str) -> Result<bool, Fault>,
) -> Result<bool, Fault> {
    let form = match args.text("header").unwrap_or("") {
        "json" => Form::Json,
        "binary" => Form::Binary,
        other => {
            return Err(Fault::BadArgument(format!(
                "--header {other}: json or binary is expected"
            )))
        }
    };
    let duration = match args.text("seconds") {
        Some(_) => Some(Duration::from_secs_f64(
            args.seconds("seconds", SECONDS_MAX)?,
        )),
        None => None,
    };
    let plan = Plan {
        address: args.loopback("addr")?,
        form,
        connections: args.number("connections", 1..=10_000)? as usize,
        depth: args.number("depth", 1..=65_536)? as usize,
        parked: (0, 0),
        warm_up: Duration::from_secs_f64(args.seconds("warm-up", SECONDS_MAX)?),
        duration,
        rate: args.optional_number("rate", 1..=10_000_000)?,
        patience: Duration::from_secs_f64(args.seconds("timeout", 600.0)?.max(0.1)),
        server_pids: args.pids("server-pid")?,
    };
    if plan.connections * plan.depth > 1 << 20 {
        return Err(Fault::BadArgument(
            "over a million requests in flight".into(),
        ));
    }
    if let Some(cpu) = args.optional_number("cpu", 0..=1023)? {
        system::pin(cpu as usize)?;
    }
    let name = |option: &str| args.text(option).unwrap_or("").to_string();
    load(plan, &name("topic"), &name("group"))
}

fn help() -> String {
    format!(
        "Usage: rmqload send|pull|flow|null-server|echo [options]\n\n\
         Options of send, pull and flow [default]:\n{}\nsend, to load a broker with messages:\n{}\n\
         pull, to read a topic and check every record:\n{}\n\
         flow, to send by the clock and consume at once:\n{}\n\
         null-server, to see the generator's own ceiling:\n{}\n\
         echo, to see what loopback itself takes:\n{}",
        describe(COMMON),
        describe(send::SPECS),
        describe(pull::SPECS),
        describe(flow::SPECS),
        describe(null_server::SPECS),
        describe(echo::SPECS),
    )
}
