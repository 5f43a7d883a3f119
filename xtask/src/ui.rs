// SPDX-License-Identifier: GPL-2.0
//! Progress on the terminal, and long commands that run with their output in a
//! log file.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::paths;

/// Without a terminal a line is printed this often, so that the log of a CI run shows
/// that something is going on.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// How much of a failed command's log is shown.
const TAIL_LINES: usize = 25;

/// The lines of steps that run at the same time.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// How many they are.
static STEPS: AtomicUsize = AtomicUsize::new(0);

/// One step of a task. Says what it does while it runs and how long it took.
pub struct Step {
    bar: Option<ProgressBar>,
    title: String,
    start: Instant,
    beat: Instant,
}

impl Step {
    /// Begins a step.
    pub fn new(title: impl Into<String>) -> Self {
        let title = title.into();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = BARS.add(ProgressBar::new_spinner());
            // The template is a constant: it parses or it never did.
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} {prefix} ({elapsed}) {wide_msg}")
            {
                bar.set_style(style);
            }
            bar.set_prefix(title.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            eprintln!("==> {title}");
        }
        STEPS.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        Self {
            bar,
            title,
            start: now,
            beat: now,
        }
    }

    /// Tells what is going on within the step.
    pub fn message(&mut self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        } else if self.beat.elapsed() >= HEARTBEAT {
            self.beat = Instant::now();
            let took = self.start.elapsed().as_secs();
            // Whose line it is goes without saying where there is but one step.
            match STEPS.load(Ordering::Relaxed) {
                1 => eprintln!("    {took} s: {text}"),
                _ => eprintln!("    {}, {took} s: {text}", self.title),
            }
        }
    }

    /// Runs `f`, which prints, with the terminal to itself.
    pub fn suspend(&self, f: impl FnOnce()) {
        aside(f);
    }

    /// Prints a line.
    pub fn println(&self, text: &str) {
        self.suspend(|| println!("{text}"));
    }

    /// Ends the step well.
    pub fn done(self) {
        let took = self.start.elapsed();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        // A step nobody had to wait for is not worth a line.
        if took > Duration::from_secs(2) {
            aside(|| eprintln!("    {}: {} s", self.title, took.as_secs()));
        }
    }
}

/// Runs `f`, which prints, with the terminal to itself: for what belongs to no step.
pub fn aside(f: impl FnOnce()) {
    BARS.suspend(f);
}

impl Drop for Step {
    fn drop(&mut self) {
        STEPS.fetch_sub(1, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Runs `command` with both its outputs in `log`; the last line is shown as the
/// progress. A failure shows the end of the log.
pub fn run_logged(command: &mut Command, title: &str, log: &Path) -> Result<()> {
    let mut step = Step::new(title);
    let mut tail = VecDeque::new();
    let status = run_lines(command, log, |line| {
        step.message(line.trim_start());
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line.to_owned());
    })?;
    if status.success() {
        step.done();
        return Ok(());
    }
    drop(step);
    aside(|| {
        for line in &tail {
            eprintln!("    {line}");
        }
    });
    let name = command.get_program().to_string_lossy();
    anyhow::bail!(
        "{title}: {name} failed ({status}); the whole log is {}",
        log.display()
    )
}

/// Runs a checker on `subject`, as a step. Returns what it printed, less cargo's progress,
/// if it failed.
pub fn complaints(command: &mut Command, title: &str, subject: &str) -> Result<Vec<String>> {
    let mut step = Step::new(format!("{title} {subject}"));
    let name = format!("{title} {subject}").replace([' ', '/'], "-");
    let log = paths::target().join("log").join(name);
    let mut lines = Vec::new();
    let status = run_lines(command, &log, |line| {
        step.message(line);
        lines.push(line.to_owned());
    })?;
    if status.success() {
        step.done();
        return Ok(Vec::new());
    }
    drop(step);
    lines.retain(|line| {
        !["Compiling", "Checking", "Documenting"]
            .iter()
            .any(|start| line.trim_start().starts_with(start))
    });
    Ok(vec![format!("{subject}:\n{}", lines.join("\n"))])
}

/// Runs `command` with both its outputs in `log` and hands each line that is
/// not empty to `each`.
pub fn run_lines(
    command: &mut Command,
    log: &Path,
    mut each: impl FnMut(&str),
) -> Result<ExitStatus> {
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let mut file =
        File::create(log).with_context(|| format!("cannot write the log {}", log.display()))?;
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    // The command keeps its copies of the pipe's end until it is dropped, and
    // the reader below would never see the end of the output.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for line in BufReader::new(reader).split(b'\n') {
        let line = line?;
        file.write_all(&line)?;
        file.write_all(b"\n")?;
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() {
            each(text.trim_end());
        }
    }
    Ok(child.wait()?)
}

/// Runs `command` and returns its standard output, without the last newline.
pub fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    anyhow::ensure!(
        out.status.success(),
        "{name} failed ({}): {}",
        out.status,
        String::from_utf8_lossy(&out.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&out.stdout).trim_end().to_owned())
}
