// SPDX-License-Identifier: GPL-2.0
//! Runs a command in a fresh virtual machine and tells how it ended.

mod initramfs;
pub mod pin;
pub mod qemu;
mod stream;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::fail::{EXIT_DIED, EXIT_REPORT, EXIT_TIMEOUT};
use crate::kernel::Kernel;
use crate::paths;
use crate::splat::{self, Splat};
use crate::ui::Step;
use qemu::Machine;
use stream::Marked;

/// Which of the command's streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    Out,
    Err,
}

/// Takes the command's output as it comes.
pub type Sink = Arc<dyn Fn(Stream, &[u8]) + Send + Sync>;

/// A sink for the output of a guest's script by whole lines: those that begin with
/// `@` are progress, for `progress`, the others for `line`. What the script says on
/// standard error is shown at once.
pub fn lines(
    step: Arc<Mutex<Step>>,
    progress: fn(&mut Step, &str),
    line: impl Fn(&str) + Send + Sync + 'static,
) -> Sink {
    let partial = Mutex::new(String::new());
    Arc::new(move |stream, data| {
        let text = String::from_utf8_lossy(data);
        let mut step = step.lock().expect("no panics");
        if stream == Stream::Err {
            step.suspend(|| eprint!("{text}"));
            return;
        }
        let mut partial = partial.lock().expect("no panics");
        partial.push_str(&text);
        while let Some(at) = partial.find('\n') {
            let whole: String = partial.drain(..=at).collect();
            match whole.strip_prefix('@') {
                Some(text) => progress(&mut step, text.trim_end()),
                None => line(&whole),
            }
        }
    })
}

/// Runs a script that prints a report: its progress is shown as it comes, as `progress`
/// shows it, its report at the end with the time since `start`. Returns the exit code.
pub fn report(run: &Run, step: Step, progress: fn(&mut Step, &str), start: Instant) -> Result<i32> {
    let step = Arc::new(Mutex::new(step));
    let text = Arc::new(Mutex::new(String::new()));
    let sink = {
        let text = text.clone();
        lines(step.clone(), progress, move |line| {
            text.lock().expect("no panics").push_str(line);
        })
    };
    let outcome = self::run(run, &sink)?;
    // The sink's copy goes with the run.
    drop(sink);
    if let Some(step) = Arc::into_inner(step) {
        step.into_inner().expect("no panics").done();
    }
    println!("\n{}", text.lock().expect("no panics").trim_end());
    println!("\n({} s in all)", start.elapsed().as_secs());
    Ok(outcome.report(&run.dir))
}

/// A run of a machine.
pub struct Run<'a> {
    pub machine: Machine,
    pub kernel: &'a Kernel,
    /// The module to load first, and its parameters.
    pub module: Option<PathBuf>,
    pub module_args: String,
    /// The command and its arguments; none for a shell.
    pub command: Vec<String>,
    pub env: Vec<(String, String)>,
    pub timeout: Duration,
    /// Directory shared with the guest as `/run/toe`. Emptied first.
    pub dir: PathBuf,
}

/// Why a machine ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The command ended with this exit code.
    Exit(i32),
    /// The machine ended before the command did.
    Died,
    /// The time was up.
    Timeout,
}

/// The result of a run.
pub struct Outcome {
    pub end: End,
    pub splats: Vec<Splat>,
    /// The kernel's log: the whole of it if the guest could hand it over, else
    /// what its serial console had said.
    pub log: String,
    pub took: Duration,
}

impl Outcome {
    /// Prints what went wrong with the machine and returns the exit code.
    pub fn report(&self, dir: &Path) -> i32 {
        for splat in &self.splats {
            eprintln!("error: the guest's kernel reported:");
            for line in &splat.lines {
                eprintln!("    {line}");
            }
        }
        match self.end {
            End::Died => {
                eprintln!("error: the guest ended before the command did; the end of its console:");
                let lines: Vec<_> = self.log.lines().collect();
                for line in lines.iter().skip(lines.len().saturating_sub(30)) {
                    eprintln!("    {line}");
                }
                EXIT_DIED
            }
            End::Timeout => {
                eprintln!(
                    "error: the guest was ended after {} s, its time limit (--timeout); its console is in {}",
                    self.took.as_secs(),
                    dir.join("console").display()
                );
                EXIT_TIMEOUT
            }
            End::Exit(_) if !self.splats.is_empty() => {
                eprintln!(
                    "error: {} kernel report(s): the run counts as failed, whatever the command said; the whole log is {}",
                    self.splats.len(),
                    dir.join("dmesg").display()
                );
                EXIT_REPORT
            }
            End::Exit(code) => code,
        }
    }
}

/// Output goes where this program's own goes.
pub fn inherit() -> Sink {
    Arc::new(|stream, data| {
        // A reader that went away is no reason to stop the guest.
        let _ = match stream {
            Stream::Out => {
                let mut out = std::io::stdout().lock();
                out.write_all(data).and_then(|()| out.flush())
            }
            Stream::Err => std::io::stderr().lock().write_all(data),
        };
    })
}

/// A word as the shell takes it literally.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Ends QEMU, however the run ends. Its sockets' directory goes with it.
struct Guard {
    child: Child,
    sockets: PathBuf,
    over: Arc<AtomicBool>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Errors only say that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = paths::remove(&self.sockets);
    }
}

/// Runs the machine to its end.
pub fn run(run: &Run<'_>, sink: &Sink) -> Result<Outcome> {
    let start = Instant::now();
    // Two runs in one directory would each empty it under the other's feet.
    let _lock = paths::Lock::of(&paths::beside(&run.dir, "lock"))?;
    let mark = format!("toe-end-{:x}-{:x}", std::process::id(), rand());
    prepare(run, &mark)?;
    let image = paths::beside(&run.dir, "initramfs");
    initramfs::write(&image)?;

    // The paths of sockets are limited to 107 bytes, those of clones are not.
    let sockets =
        std::env::temp_dir().join(format!("toe-vm-{:x}-{:x}", std::process::id(), rand()));
    fs::create_dir(&sockets).with_context(|| format!("cannot create {}", sockets.display()))?;
    let listeners = qemu::PORTS
        .map(|name| UnixListener::bind(sockets.join(name)))
        .into_iter()
        .collect::<std::io::Result<Vec<_>>>()
        .with_context(|| format!("cannot make sockets in {}", sockets.display()))?;

    let mut command = qemu::command(&run.machine, &run.kernel.image, &image, &run.dir, &sockets)?;
    let qemu_log = paths::beside(&run.dir, "qemu");
    command.stderr(fs::File::create(&qemu_log)?);
    if !run.machine.tty {
        command.stdin(Stdio::null()).stdout(Stdio::null());
    }
    let child = command.spawn().context("cannot start QEMU")?;
    if pin::wanted(&run.machine) && !pin::pin(child.id(), &run.machine) {
        eprintln!("warning: the virtual CPUs could not be pinned");
    }
    let over = Arc::new(AtomicBool::new(false));
    let mut guard = Guard {
        child,
        sockets,
        over: over.clone(),
    };

    let (sender, receiver) = channel();
    let mut listeners = listeners.into_iter();
    let stdin = listeners.next().expect("there are three ports");
    let forward = run.machine.stdin;
    let over_in = over.clone();
    // Detached: it may sit in a read of standard input until the program ends.
    thread::spawn(move || serve_input(&stdin, forward, &over_in));
    for (listener, stream) in listeners.zip([Stream::Out, Stream::Err]) {
        let sender = sender.clone();
        let sink = sink.clone();
        let over = over.clone();
        let mark = mark.clone();
        thread::spawn(move || {
            let end = serve_output(&listener, stream, &mark, &sink, &over);
            // No receiver is left if the run is over.
            let _ = sender.send((stream, end));
        });
    }
    drop(sender);

    let deadline = start + run.timeout;
    let mut code = None;
    let mut marks = 0;
    let end = loop {
        match receiver.recv_timeout(Duration::from_millis(50)) {
            Ok((stream, Some(text))) => {
                marks += 1;
                if stream == Stream::Err {
                    code = text.parse().ok();
                }
            }
            Ok((_, None)) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                if guard.child.try_wait()?.is_some() {
                    // What the threads still have to say, they say at once now.
                    while let Ok((stream, end)) = receiver.recv_timeout(Duration::from_millis(500))
                    {
                        if let (Stream::Err, Some(text)) = (stream, end) {
                            code = text.parse().ok();
                        }
                    }
                    break code.map_or(End::Died, End::Exit);
                }
            }
        }
        if marks == 2 {
            break code.map_or(End::Died, End::Exit);
        }
        if Instant::now() >= deadline {
            break End::Timeout;
        }
    };
    drop(guard);

    let console = read_lossy(&run.dir.join("console"));
    let dmesg = read_lossy(&run.dir.join("dmesg"));
    let log = if dmesg.is_empty() { console } else { dmesg };
    if end == End::Died && log.is_empty() {
        anyhow::bail!("QEMU ended at once: {}", read_lossy(&qemu_log).trim());
    }
    paths::remove(&image)?;
    paths::remove(&qemu_log)?;
    Ok(Outcome {
        end,
        splats: splat::find(&log),
        log,
        took: start.elapsed(),
    })
}

/// Fills the run directory.
fn prepare(run: &Run<'_>, mark: &str) -> Result<()> {
    paths::remove(&run.dir)?;
    fs::create_dir_all(&run.dir).with_context(|| format!("cannot create {}", run.dir.display()))?;
    fs::copy(
        paths::repo().join("xtask/guest/start"),
        run.dir.join("start"),
    )
    .context("xtask/guest/start")?;

    let mut vars = vec![
        ("TOE_MARK".to_owned(), mark.to_owned()),
        (
            "TOE_CWD".to_owned(),
            std::env::current_dir()?.display().to_string(),
        ),
        (
            "TOE_MODULES".to_owned(),
            run.kernel
                .modules
                .as_ref()
                .map_or(String::new(), |dir| dir.display().to_string()),
        ),
        ("TOE_MODULE_ARGS".to_owned(), run.module_args.clone()),
    ];
    let plugins = paths::ip_plugin_dir();
    if plugins.is_dir() {
        vars.push(("TOE_IP_PLUGINS".to_owned(), plugins.display().to_string()));
    }
    if let Some(module) = &run.module {
        vars.push(("TOE_MODULE".to_owned(), module.display().to_string()));
    }
    if run.machine.stdin {
        vars.push(("TOE_STDIN".to_owned(), "1".to_owned()));
    }
    if run.machine.tty {
        vars.push(("TOE_TTY".to_owned(), "1".to_owned()));
        let (rows, cols) = rustix::termios::tcgetwinsize(std::io::stdout())
            .map_or((24, 80), |size| (size.ws_row, size.ws_col));
        vars.push(("TOE_ROWS".to_owned(), rows.to_string()));
        vars.push(("TOE_COLS".to_owned(), cols.to_string()));
    }
    let mut text = String::new();
    for (name, value) in &vars {
        text += &format!("{name}={}\n", quote(value));
    }
    fs::write(run.dir.join("vars"), text)?;

    let mut text = String::new();
    const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for (name, value) in [
        ("PATH", PATH),
        ("HOME", "/root"),
        ("USER", "root"),
        ("LANG", "C.UTF-8"),
        ("TOE_VM", "1"),
        ("TOE_OUT", "/run/toe"),
    ] {
        text += &format!("export {name}={}\n", quote(value));
    }
    text += &format!(
        "export TERM={}\n",
        quote(&std::env::var("TERM").unwrap_or_else(|_| "dumb".into()))
    );
    text += &format!("export TOE_KERNEL={}\n", quote(run.machine.flavour.name()));
    for (name, value) in &run.env {
        text += &format!("export {name}={}\n", quote(value));
    }
    if run.command.is_empty() {
        text += "exec bash -i\n";
    } else {
        let words: Vec<_> = run.command.iter().map(|word| quote(word)).collect();
        // Without exec a shell's own builtins and compound words would work,
        // but the exit code of a missing program would not be a plain 127.
        text += &format!("exec {}\n", words.join(" "));
    }
    fs::write(run.dir.join("command"), text)?;
    Ok(())
}

/// Waits for QEMU to connect, or for the end of the run.
fn accept(listener: &UnixListener, over: &AtomicBool) -> Option<UnixStream> {
    listener.set_nonblocking(true).ok()?;
    while !over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).ok()?;
                return Some(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(_) => return None,
        }
    }
    None
}

/// Hands standard input to the guest; its end closes the port, which is how
/// the guest's reader sees it.
fn serve_input(listener: &UnixListener, forward: bool, over: &AtomicBool) {
    let Some(mut stream) = accept(listener, over) else {
        return;
    };
    // The guest says when it has opened the port: QEMU drops what it has read
    // before that, when the socket closes.
    if matches!(stream.read(&mut [0]), Ok(1)) && forward {
        // Either side may go away first: both are the end. Only half of the
        // socket is closed, for QEMU does not read on from a closed one.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut stream);
        let _ = stream.shutdown(Shutdown::Write);
    }
    let _ = stream.read(&mut [0]);
}

/// Copies one stream to the sink. Returns what was behind its mark.
fn serve_output(
    listener: &UnixListener,
    stream: Stream,
    mark: &str,
    sink: &Sink,
    over: &AtomicBool,
) -> Option<String> {
    let mut socket = accept(listener, over)?;
    let mut marked = Marked::new(mark);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) | Err(_) => {
                let rest = marked.rest();
                if !rest.is_empty() {
                    sink(stream, &rest);
                }
                return None;
            }
            Ok(n) => {
                let out = marked.push(&buffer[..n]);
                if !out.is_empty() {
                    sink(stream, &out);
                }
                if let Some(end) = marked.end() {
                    return Some(end);
                }
            }
        }
    }
}

fn read_lossy(path: &Path) -> String {
    fs::read(path)
        .map(|data| String::from_utf8_lossy(&data).into_owned())
        .unwrap_or_default()
}

/// A number nobody else has: for names, not for secrets.
fn rand() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_survives_quotes() {
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }
}
