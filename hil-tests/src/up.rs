//! `up` and `down`: a demo network for people and scripts.

use anyhow::{Context as _, bail};
use noderr_hil::session::{Admin, BoxSession, Session};
use noderr_hil::{
    BoxOptions, ControlOptions, Lab, LabOptions, ProcessRig, binary, end_leftovers, leftovers, until,
};
use rustix::process::{self, Pid, kill_process};
use serde_json::json;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};

const PORTS: (u16, u16) = (8443, 8883);
const SESSION: &str = "session.json";
/// The file that the process that keeps the lab holds locked; it holds the process's id.
const LOCK: &str = "lock";
const TAKEN: &str = "a lab is running or starting in this folder already; `./dev down` stops it";
const PATIENCE: Duration = Duration::from_secs(90);
/// How long to wait for a box that was online in an earlier run.
const RETURN: Duration = Duration::from_secs(20);

/// The signals by which a person, an init system or a closed terminal says stop.
struct StopSignals([Signal; 3]);

impl StopSignals {
    fn new() -> anyhow::Result<Self> {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        let [terminate, interrupt, hangup] = kinds.map(signal);
        Ok(Self([terminate?, interrupt?, hangup?]))
    }

    async fn stop(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Runs the lab in the foreground until Ctrl-C.
pub(crate) async fn up(folder: &Path, resume: bool, boxes: usize) -> anyhow::Result<()> {
    let mut told = StopSignals::new()?;
    let folder = ensure_folder(folder)?;
    let _kept = keep(&folder)?.context(TAKEN)?;
    let lab_folder = lab_folder(&folder)?;
    end_leftovers(&lab_folder).await?;
    forget(&folder.join(SESSION))?;
    if !resume && lab_folder.exists() {
        fs::remove_dir_all(&lab_folder).with_context(|| format!("cannot clear {}", lab_folder.display()))?;
    }
    let started = tokio::select! {
        started = start(&lab_folder, boxes) => started,
        () = told.stop() => bail!("interrupted"),
    };
    let (lab, rigs, session, online) = started?;
    let session_file = folder.join(SESSION);
    private(&session_file)?.write_all(&serde_json::to_vec_pretty(&session)?)?;
    say(&session, &session_file, online)?;
    told.stop().await;
    stop(lab, rigs, &session_file).await
}

/// The lab, its boxes, the session, and how many boxes are online.
type Started = (Lab, Vec<ProcessRig>, Session, usize);

async fn start(folder: &Path, boxes: usize) -> anyhow::Result<Started> {
    let began = Instant::now();
    let progress = |what: &str| println!("[{:>5.1} s] {what}", began.elapsed().as_secs_f32());
    // The demo has its usual ports, so that links stay the same from run to run, or any free ports if those
    // are taken.
    let free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let ports = (free(PORTS.0) && free(PORTS.1)).then_some(PORTS);
    let control = ControlOptions { ports, ..ControlOptions::default() };
    let lab = Lab::start(folder, LabOptions { control, ..LabOptions::default() }, progress).await?;
    let mut rigs = Vec::new();
    for number in 1..=boxes {
        rigs.push(switched_on(&lab, &format!("box-{number}"), &progress).await?);
    }
    let mut online = 0;
    for (_, rig, was_known) in &mut rigs {
        match rig.online(if *was_known { RETURN } else { PATIENCE }).await {
            Ok(()) => {
                online += 1;
                progress(&format!("{} is online", rig.name()));
            }
            // The box may have been revoked in an earlier run, which is no reason to stop the others.
            Err(error) if *was_known => progress(error.to_string().lines().next().unwrap_or_default()),
            Err(error) => return Err(error),
        }
    }
    let rigs: Vec<_> = rigs.into_iter().map(|(node, rig, _)| (node, rig)).collect();
    let session = session_of(&lab, &rigs).await?;
    Ok((lab, rigs.into_iter().map(|(_, rig)| rig).collect(), session, online))
}

/// Makes a box and switches it on; returns its node, its rig, and whether an earlier run knew the box.
async fn switched_on(
    lab: &Lab,
    label: &str,
    progress: &impl Fn(&str),
) -> anyhow::Result<(String, ProcessRig, bool)> {
    let known = known_node(lab, label).await?;
    let was_known = known.is_some();
    let (node, mut rig) = match known {
        Some(node) => {
            progress(&format!("switching {label} on"));
            let token = "none: enrolled in an earlier run";
            (node, lab.make_box(label, token, &BoxOptions::default()).await?)
        }
        None => {
            progress(&format!("making {label} with a TPM of its own"));
            lab.add_box(label, &BoxOptions::default()).await?
        }
    };
    rig.power_on()?;
    Ok((node, rig, was_known))
}

/// Collects what scripts need to know of the lab.
async fn session_of(lab: &Lab, rigs: &[(String, ProcessRig)]) -> anyhow::Result<Session> {
    let token = api_token(lab).await?;
    Ok(Session {
        api: lab.control.api_url(),
        openapi: format!("{}/api/v1/openapi.json", lab.control.api_url()),
        ca: lab.control.root_file(),
        admin: Admin { email: lab.email().to_owned(), password: lab.password.clone() },
        token,
        broker: format!("localhost:{}", lab.control.broker().port()),
        database: lab.control.reader_url()?,
        boxes: rigs
            .iter()
            .map(|(node, rig)| BoxSession {
                id: node.clone(),
                data: rig.data(),
                pid: rig.pid().unwrap_or_default(),
                socket: rig.socket(),
                config: rig.config().to_owned(),
            })
            .collect(),
        pid: std::process::id(),
        control_pid: lab.control.pid().unwrap_or_default(),
    })
}

async fn known_node(lab: &Lab, label: &str) -> anyhow::Result<Option<String>> {
    let nodes = lab.admin.list("/nodes", 1000).await?;
    let known = nodes.iter().find(|node| node["label"] == label && !node["enrolled_at"].is_null());
    Ok(known.and_then(|node| node["id"].as_str()).map(str::to_owned))
}

async fn api_token(lab: &Lab) -> anyhow::Result<String> {
    let permissions = [
        "read-operators",
        "write-operators",
        "read-nodes",
        "write-nodes",
        "attest",
        "read-audit",
        "read-work",
        "write-work",
        "manage-tokens",
    ];
    let token =
        lab.admin.post("/tokens", &json!({ "name": "dev session", "permissions": permissions })).await?;
    Ok(token["secret"].as_str().context("no token")?.to_owned())
}

fn say(session: &Session, file: &Path, online: usize) -> anyhow::Result<()> {
    let node = binary("noderr-node")?;
    let ctl = binary("noderrctl")?;
    let mut out = std::io::stdout().lock();
    let of =
        if online == session.boxes.len() { String::new() } else { format!(" of {}", session.boxes.len()) };
    writeln!(out, "\n  {online}{of} boxes are online.\n")?;
    writeln!(out, "  API       {}  (root certificate: {})", session.api, session.ca.display())?;
    writeln!(out, "  OpenAPI   {}", session.openapi)?;
    writeln!(out, "  login     {}  {}", session.admin.email, session.admin.password)?;
    writeln!(out, "  broker    {}  (MQTT over mTLS)", session.broker)?;
    writeln!(out, "  database  psql '{}'", session.database)?;
    writeln!(out, "  session   {}\n", file.display())?;
    writeln!(out, "  Ask a box how it is:")?;
    for known in &session.boxes {
        writeln!(out, "    {} --config {} status", node.display(), known.config.display())?;
    }
    writeln!(out, "\n  Ask the control plane:")?;
    writeln!(
        out,
        "    export NODERR_URL={} NODERR_CA={} NODERR_TOKEN={}",
        session.api,
        session.ca.display(),
        session.token
    )?;
    writeln!(out, "    {} nodes list", ctl.display())?;
    let usual = std::env::current_dir().is_ok_and(|here| file.parent() == Some(&here.join(".dev")));
    let folder = file.parent().filter(|_| !usual).map(|folder| format!(" --folder {}", folder.display()));
    let folder = folder.unwrap_or_default();
    writeln!(out, "\n  Stop: ./dev down{folder}, or Ctrl-C where it runs in the foreground\n")?;
    Ok(())
}

async fn stop(mut lab: Lab, mut rigs: Vec<ProcessRig>, session_file: &Path) -> anyhow::Result<()> {
    println!("stopping");
    for rig in &mut rigs {
        rig.shut_down().await?;
    }
    drop(rigs);
    lab.database.close().await;
    lab.control.stop().await?;
    fs::remove_file(session_file)?;
    println!("stopped");
    Ok(())
}

/// Starts the lab in a process of its own and returns once it is up.
pub(crate) async fn detach(folder: &Path, resume: bool, boxes: usize) -> anyhow::Result<()> {
    let mut told = StopSignals::new()?;
    let folder = &ensure_folder(folder)?;
    drop(keep(folder)?.context(TAKEN)?);
    let log_path = folder.join("up.log");
    let log = private(&log_path)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("up").arg("--folder").arg(folder).args(["--boxes", &boxes.to_string()]);
    if resume {
        command.arg("--resume");
    }
    let mut lab = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("cannot start the lab")?;
    let pid = lab.id().context("the lab has ended")?;
    let (mut shown, deadline) = (0, Instant::now() + 3 * PATIENCE);
    let why = loop {
        let text = fs::read_to_string(&log_path).unwrap_or_default();
        if let Some(new) = text.get(shown..) {
            print!("{new}");
            std::io::stdout().flush()?;
            shown = text.len();
        }
        if session(folder).is_some_and(|session| session.pid == pid) {
            return Ok(());
        }
        if let Some(status) = lab.try_wait()? {
            bail!("the lab did not come up ({status})");
        }
        if Instant::now() > deadline {
            break format!("the lab is not up; see {}", log_path.display());
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            () = told.stop() => break "interrupted".to_owned(),
        }
    };
    // A lab that is half up must not be left behind.
    kill_process(Pid::from_raw(pid.cast_signed()).context("the lab has ended")?, process::Signal::TERM)?;
    tokio::time::timeout(PATIENCE, lab.wait()).await.context("the lab does not stop")??;
    bail!(why)
}

/// Makes the folder if need be; returns its full path.
fn ensure_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    Ok(fs::canonicalize(folder)?)
}

/// Makes a new file that only its owner can read.
fn private(path: &Path) -> anyhow::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    forget(path)?;
    Ok(fs::File::options().write(true).create_new(true).mode(0o600).open(path)?)
}

fn forget(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Keeps the folder for this process for as long as the file is open: two labs in one folder would damage
/// each other. `None` if another process keeps the folder.
fn keep(folder: &Path) -> anyhow::Result<Option<fs::File>> {
    let mut lock = fs::File::options().create(true).truncate(false).write(true).open(folder.join(LOCK))?;
    let taken = rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    if taken == Err(rustix::io::Errno::WOULDBLOCK) {
        return Ok(None);
    }
    taken?;
    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())?;
    Ok(Some(lock))
}

/// Stops the lab that `up` started, here or in another terminal, or the processes that a killed `up` has
/// left.
pub(crate) async fn down(folder: &Path) -> anyhow::Result<()> {
    let folder = ensure_folder(folder)?;
    let lab_folder = lab_folder(&folder)?;
    if keep(&folder)?.is_none() {
        let keeper = fs::read_to_string(folder.join(LOCK))?;
        let pid = keeper.trim().parse().ok().and_then(Pid::from_raw).context("the lock names no process")?;
        kill_process(pid, process::Signal::TERM)?;
        until("the lab to stop", PATIENCE, || async { Ok(keep(&folder)?.map(drop)) }).await?;
        println!("stopped");
        return end_leftovers(&lab_folder).await;
    }
    let found = !leftovers(&lab_folder).is_empty();
    end_leftovers(&lab_folder).await?;
    forget(&folder.join(SESSION))?;
    println!("{}", if found { "stopped what an earlier run left" } else { "nothing is running" });
    Ok(())
}

/// The session file that the lab in this folder has left, if the lab is up.
fn session(folder: &Path) -> Option<Session> {
    serde_json::from_slice(&fs::read(folder.join(SESSION)).ok()?).ok()
}

/// The folder of the lab: below `folder`, or, where PostgreSQL's user could not reach it there (a checkout in
/// root's home), below /var/tmp.
fn lab_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let passable =
        |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0);
    if !rustix::process::geteuid().is_root() || folder.ancestors().all(passable) {
        return Ok(folder.join("lab"));
    }
    let name: String =
        folder.display().to_string().chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    let elsewhere = PathBuf::from(format!("/var/tmp/noderr-dev{name}"));
    fs::create_dir_all(&elsewhere)?;
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o755))?;
    Ok(elsewhere.join("lab"))
}
