//! Queries and connections through the endpoint beside PostgreSQL's own TLS and SCRAM, and beside its Unix socket; and what
//! idle computes cost.

use crate::bare::{Bare, PASSWORD, Target};
use crate::branches::Bench;
use crate::figures::{Budget, Figure, Floor};
use crate::server::postmaster;
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;

/// A load of pgbench.
const LOADS: [(&str, &[&str], Option<Budget>); 5] = [
    (
        "select-only, 1 client",
        &["-S", "-c", "1"],
        Some(Budget::PartOfFloor(0.9)),
    ),
    (
        "select-only, 4 clients",
        &["-S", "-c", "4"],
        Some(Budget::PartOfFloor(0.9)),
    ),
    ("TPC-B, 1 client", &["-c", "1"], None),
    ("TPC-B, 4 clients", &["-c", "4"], None),
    ("connect, select, hang up", &["-S", "-c", "1", "-C"], None),
];

/// Transactions in a second, in turns.
pub(crate) async fn queries(bench: &mut Bench, count: usize, seconds: u32) -> anyhow::Result<Vec<Figure>> {
    bench.sleep().await?;
    let (copy, _) = Bare::copy(
        &bench.production,
        &bench.place.dir().join("direct"),
        &bench.bindir,
    )?;
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let Some(running) = copy.start_with_tls(port).await? else {
        return Ok(vec![]);
    };
    let direct = |host: String, ssl| Target {
        host,
        port,
        password: PASSWORD.to_owned(),
        ssl,
    };
    let targets = [
        bench.target().await?,
        direct("127.0.0.1".to_owned(), "require"),
        direct(running.socket_dir.display().to_string(), "disable"),
    ];
    let seconds = seconds.to_string();
    let mut figures = vec![];
    for (what, load, budget) in LOADS {
        eprintln!("# pgbench {what}");
        let args = [&["-n", "-M", "prepared", "-T", &seconds], load].concat();
        let mut tps: [Vec<f64>; 3] = Default::default();
        for _ in 0..count {
            for (target, tps) in targets.iter().zip(&mut tps) {
                tps.push(target.tps(&bench.bindir, &args)?);
            }
        }
        let [ours, tls, socket] = tps;
        for (floor, values, budget) in [
            ("PostgreSQL, TLS + SCRAM", tls, budget),
            ("PostgreSQL, Unix socket", socket, None),
        ] {
            figures.push(Figure {
                floor: Some(Floor { what: floor, values }),
                budget,
                ..bench.figure(&format!("pgbench {what}"), "tps", ours.clone())
            });
        }
    }
    running.stop()?;
    Ok(figures)
}

/// Memory with so many computes running and nobody using them, and with all asleep.
pub(crate) async fn memory(bench: &mut Bench, computes: usize) -> anyhow::Result<Vec<Figure>> {
    eprintln!("# memory of {computes} computes");
    bench.sleep().await?;
    let asleep = bench.server.processes()?.len();
    let lake = bench.server.lake().clone();
    // The limit of branches is that of a project.
    for n in 0..computes {
        lake.create_project(&format!("idle-{n}")).await?;
    }
    let pss = pss_by_postmaster()?;
    let mut each = vec![];
    for process in bench.server.processes()? {
        each.extend(pss.get(&process.pid).map(|kilobytes| kilobytes / 1024.0));
    }
    let awake = postmaster(&bench.production).is_some();
    eprintln!(
        "# {} computes run, production {}",
        each.len(),
        if awake { "too" } else { "sleeps" }
    );
    let server = status_kilobytes(bench.server.pid()?, "VmRSS:") / 1024.0;
    let budget = |limit| Some(Budget::AtMost(limit));
    Ok(vec![
        Figure {
            budget: budget(10.0),
            ..bench.figure(
                &format!("memory (PSS) of one of {} idle computes", each.len()),
                "MB",
                each,
            )
        },
        Figure {
            budget: budget(0.0),
            ..bench.figure(
                "processes of branches that sleep",
                "",
                vec![f64::from(u32::try_from(asleep)?)],
            )
        },
        Figure {
            budget: budget(30.0),
            ..bench.figure("resident memory of the server", "MB", vec![server])
        },
    ])
}

/// Adds up the proportional memory of each process and its children.
fn pss_by_postmaster() -> anyhow::Result<BTreeMap<i32, f64>> {
    let mut sums = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let pss = kilobytes(&rollup, "Pss:");
        for owner in [pid, parent(pid)] {
            *sums.entry(owner).or_insert(0.0) += pss;
        }
    }
    Ok(sums)
}

fn parent(pid: i32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.and_then(|line| line.trim().parse().ok()).unwrap_or_default()
}

fn status_kilobytes(pid: i32, key: &str) -> f64 {
    kilobytes(
        &fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default(),
        key,
    )
}

fn kilobytes(text: &str, key: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or_default()
}
