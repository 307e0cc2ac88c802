//! `lakebased local recover`: shows what can be restored of Local Lakebase's data, and restores it on request.

use anyhow::{Context, anyhow, bail};
use lakebased::config::RecoverArgs;
use local_lakebase::{Done, Missing, Recovery, RecoveryPlan, Restored};
use std::io::{self, IsTerminal, Write};
use std::path::Path;

/// Shows the plan, and carries it out if the user agrees.
///
/// # Errors
/// When there is something to do and it was not done.
pub(crate) async fn recover(data_dir: &Path, args: &RecoverArgs) -> anyhow::Result<()> {
    let recovery = match Recovery::examine(data_dir).await {
        Ok(recovery) => recovery,
        Err(error) => {
            let fix = error.fix();
            let error = anyhow!(error);
            return Err(if fix.is_empty() {
                error
            } else {
                anyhow!("{error:#}\nhint: {fix}")
            });
        }
    };
    let plan = recovery.plan().clone();
    if !args.json {
        print(&lines(&plan))?;
    }
    if !plan.is_needed {
        return finish(args, &plan, None);
    }
    if !args.yes && !agreed(args)? {
        finish(args, &plan, None)?;
        bail!("nothing was changed\nhint: run `lakebased local recover --yes` to do this");
    }
    let done = recovery.carry_out().await;
    let done = done.context("stopped half-way; run `lakebased local recover` again")?;
    if !args.json {
        print(&report(&done))?;
    }
    finish(args, &plan, Some(&done))
}

fn finish(args: &RecoverArgs, plan: &RecoveryPlan, done: Option<&Done>) -> anyhow::Result<()> {
    if !args.json {
        return Ok(());
    }
    let text = plan.to_json(done).context("cannot print the plan")?;
    print(&text.lines().map(str::to_owned).collect::<Vec<_>>())
}

/// Asks, where somebody can answer.
fn agreed(args: &RecoverArgs) -> anyhow::Result<bool> {
    if args.json || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Ok(false);
    }
    let mut out = io::stdout();
    write!(out, "\nCarry this out? [y/N] ")
        .and_then(|()| out.flush())
        .context("cannot ask")?;
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .context("cannot read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn lines(plan: &RecoveryPlan) -> Vec<String> {
    let branches = counted(plan.catalog.branches, "branch", "branches");
    let catalog = match (&plan.catalog.reason, plan.catalog.state) {
        (Some(why), _) => format!("unreadable: {why}"),
        (None, "readable") if plan.foreign_branches > 0 => {
            format!("of another installation, with {branches}")
        }
        (None, "readable") => branches,
        (None, state) => state.to_owned(),
    };
    let mut lines = vec![
        format!("data directory  {}", plan.data_dir.display()),
        format!("catalog         {catalog}"),
        format!(
            "on the disk     {}",
            counted(plan.directories, "data directory", "data directories")
        ),
    ];
    section(
        &mut lines,
        "left alone",
        plan.left_alone.iter().map(|path| shown(path)),
    );
    if !plan.is_needed {
        section(&mut lines, "stay in `lost`", still_lost(plan));
        lines.extend([String::new(), "nothing to recover".to_owned()]);
        return lines;
    }
    section(&mut lines, "restore", plan.restore.iter().map(restored));
    let aside = plan.set_aside.iter();
    section(
        &mut lines,
        "move to `lost`",
        aside.map(|it| format!("{} ({}): {}", shown(&it.path), size(it.bytes), it.reason)),
    );
    section(&mut lines, "stay in `lost`", still_lost(plan));
    section(
        &mut lines,
        "drop, because they have no data",
        plan.missing.iter().map(|Missing { name }| name.clone()),
    );
    section(&mut lines, "lost", lost(plan).into_iter());
    lines
}

fn still_lost(plan: &RecoveryPlan) -> impl Iterator<Item = String> {
    plan.still_lost
        .iter()
        .map(|it| format!("{}: {}", shown(&it.path), it.reason))
}

fn restored(branch: &Restored) -> String {
    let mut about = vec![size(branch.bytes)];
    let marks = [
        (branch.is_default, "default"),
        (branch.is_protected, "protected"),
        (branch.is_deleted, "soft-deleted"),
        (branch.taken_back.is_some(), "from `lost`"),
    ];
    about.extend(
        marks
            .into_iter()
            .filter(|(is_so, _)| *is_so)
            .map(|(_, mark)| mark.to_owned()),
    );
    about.extend(branch.address.clone());
    about.extend(
        branch
            .expire_time
            .map(|time| format!("expires {}", time.format("%F %R UTC"))),
    );
    let extended = branch.extended_from;
    about.extend(extended.map(|time| format!("extended, because it ended {}", time.format("%F %R UTC"))));
    format!("{} ({}): {}", branch.name, branch.uid, about.join(", "))
}

/// What no command brings back.
fn lost(plan: &RecoveryPlan) -> Vec<String> {
    let passwords = plan.lost_passwords.iter();
    let mut lost: Vec<_> = passwords
        .map(|it| {
            format!(
                "the password of role `{}` of {}: ask for the new one",
                it.role, it.branch
            )
        })
        .collect();
    let without = plan.without_default.iter();
    lost.extend(without.map(|it| format!("the default branch of {}: set another one", it.project)));
    if plan.operations_lost {
        lost.push("the answers of finished operations".to_owned());
    }
    lost
}

fn report(done: &Done) -> Vec<String> {
    let mut lines = vec![String::new()];
    lines.extend(
        done.moved
            .iter()
            .map(|path| format!("moved to `{}`", shown(path))),
    );
    let kept = done.old_catalog.as_ref();
    lines.extend(kept.map(|path| format!("the old catalog is `{}`", shown(path))));
    lines.push(
        "recovered; a daemon that runs serves it within seconds, or start one with `lakebase up`".to_owned(),
    );
    lines
}

fn section(lines: &mut Vec<String>, title: &str, items: impl Iterator<Item = String>) {
    let items: Vec<_> = items.map(|item| format!("  {item}")).collect();
    if !items.is_empty() {
        lines.extend([String::new(), title.to_owned()]);
        lines.extend(items);
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn size(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
}

fn print(lines: &[String]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for line in lines {
        writeln!(out, "{}", harmless(line)).context("cannot write to standard output")?;
    }
    Ok(())
}

/// Names of roles and of files may hold anything: what a terminal would act on is written as `\u0000`.
fn harmless(line: &str) -> String {
    line.chars().fold(String::with_capacity(line.len()), |mut out, c| {
        let is_format = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if c.is_control() || is_format {
            out.extend(format!("\\u{:04x}", u32::from(c)).chars());
        } else {
            out.push(c);
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_15_no_name_reaches_the_terminal_as_a_command() {
        let name = "a\u{1b}[2Jb\u{202e}c\nd\u{9b}é";
        assert_eq!(harmless(name), "a\\u001b[2Jb\\u202ec\\u000ad\\u009bé");
    }
}
