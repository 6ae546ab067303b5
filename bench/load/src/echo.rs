//! `rmqload echo`: the floor. Bytes go over loopback and come back, nothing is done with them.
//!
//! What one request in flight costs at a broker is judged beside this: both ends block, and a thread
//! of this process is the server.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::args::{spec, Args, Spec};
use crate::fault::Fault;
use crate::histogram::Histogram;
use crate::report::Report;
use crate::system;

pub const SPECS: &[Spec] = &[
    spec("request", "BYTES", "560", "size of a request"),
    spec("answer", "BYTES", "300", "size of its answer"),
    spec("seconds", "S", "1", "stop after so many seconds"),
    spec("cpu", "N", "", "both ends stay on this core"),
];
const TIMEOUT: Duration = Duration::from_secs(5);

pub fn run(args: &Args) -> Result<bool, Fault> {
    let request = vec![1; args.number("request", 1..=1 << 20)? as usize];
    let answer = vec![2; args.number("answer", 1..=1 << 20)? as usize];
    let seconds = Duration::from_secs_f64(args.seconds("seconds", 60.0)?);
    if let Some(cpu) = args.optional_number("cpu", 0..=1023)? {
        system::pin(cpu as usize)?;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
        end.set_read_timeout(Some(TIMEOUT))?;
    }
    let (request_size, reply) = (request.len(), answer.clone());
    let serving = std::thread::spawn(move || {
        let mut received = vec![0; request_size];
        while server.read_exact(&mut received).is_ok() {
            if server.write_all(&reply).is_err() {
                break;
            }
        }
    });
    let mut times = Histogram::new();
    let mut count = 0;
    let mut received = vec![0; answer.len()];
    let started = Instant::now();
    while started.elapsed() < seconds {
        let asked = Instant::now();
        client.write_all(&request)?;
        client.read_exact(&mut received)?;
        times.add(asked.elapsed().as_nanos() as u64);
        count += 1;
    }
    drop(client);
    let is_right = serving.join().is_ok() && received == answer;
    let mut report = Report::new("echo");
    report.whole("requests", count);
    report.latency("latency_us", &times);
    report.truth("ok", is_right);
    println!("{}", report.finish());
    Ok(is_right)
}
