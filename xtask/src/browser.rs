//! `cargo xtask shaders --browser`: every pipeline that the kernel tests ask for is made in headless Chromium. Its compiler
//! (Tint) proves that barriers stand in uniform control flow, and its device has WebGPU's default limits.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::shell::Repository;
use crate::{table, vulkan};

/// The variable by which kernel tests are asked for their shaders and pipelines, as JSON lines.
pub const LOG: &str = "SOFTURN_SHADER_LOG";
const PAGE: &str = include_str!("browser.html");
const PATIENCE: Duration = Duration::from_secs(600);

/// Modules that the browser must reject, each with a word of the reason: the proof that this check can fail.
const BROKEN: [(&str, &str, &str); 2] = [
    (
        "(a barrier in a branch)",
        "@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) { if (i < 8u) { workgroupBarrier(); } }",
        "uniform control flow",
    ),
    (
        "(80 KiB of workgroup memory)",
        "var<workgroup> big: array<u32, 20480>;
         @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) { big[i] = i; }",
        "workgroup",
    ),
];

struct Shader {
    source: String,
    /// The file and line of each line of the source.
    origins: Vec<String>,
    pipelines: BTreeSet<String>,
}

/// Compiles what is written in `log`, or what a run of the kernel tests writes, and prints a table of modules.
///
/// # Errors
/// When there is no Chromium, it refuses a module or a pipeline, or it takes one that it must refuse.
pub fn run(repo: &Repository, log: Option<&Path>) -> Result<()> {
    let browser = find(repo)?;
    let shaders = match log {
        Some(log) => read(log)?,
        None => read(&collect(repo)?)?,
    };
    let mut sent: Vec<Value> = shaders.iter().map(|(name, shader)| message(name, shader)).collect();
    for (name, code, _) in BROKEN {
        sent.push(json!({ "name": name, "code": code, "pipelines": [{ "entry": "main", "constants": {} }] }));
    }
    let answer = ask(repo, &browser, &Value::from(sent).to_string())?;
    report(&shaders, &answer)
}

/// Runs the kernel tests, but not the slowest, for what they write.
fn collect(repo: &Repository) -> Result<PathBuf> {
    vulkan::ensure(repo)?;
    let log = fresh_log(repo)?;
    let mut tests = repo.cargo();
    tests.args(["test", "--quiet", "-p", "softurn-kernels", "--lib", "--", "--skip", "every_mutant"]).env(LOG, &log);
    repo.run(&mut tests)?;
    Ok(log)
}

/// Where kernel tests write their pipelines, without those of an earlier run.
///
/// # Errors
/// When the old file cannot be removed.
pub fn fresh_log(repo: &Repository) -> Result<PathBuf> {
    let folder = repo.target.join("browser");
    std::fs::create_dir_all(&folder)?;
    let log = folder.join("pipelines.jsonl");
    if log.exists() {
        std::fs::remove_file(&log).with_context(|| log.display().to_string())?;
    }
    Ok(log)
}

fn read(log: &Path) -> Result<BTreeMap<String, Shader>> {
    let text = std::fs::read_to_string(log).with_context(|| log.display().to_string())?;
    let mut shaders = BTreeMap::new();
    let mut pipelines: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        let mut line: Value = serde_json::from_str(line).with_context(|| log.display().to_string())?;
        let name = line["module"].as_str().context("a line without a module")?.to_owned();
        if let Some(source) = line["source"].as_str() {
            let origins = line["origins"].as_array().context("a source without its lines")?;
            let origins = origins.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            let shader = Shader { source: source.to_owned(), origins, pipelines: BTreeSet::new() };
            shaders.insert(name, shader);
        } else {
            let pipeline = json!({ "entry": line["entry"].take(), "constants": line["constants"].take() });
            pipelines.entry(name).or_default().insert(pipeline.to_string());
        }
    }
    for (name, pipelines) in pipelines {
        shaders.get_mut(&name).with_context(|| format!("{name}: a pipeline without its source"))?.pipelines = pipelines;
    }
    if shaders.is_empty() {
        bail!("the kernel tests wrote no shader to {}", log.display());
    }
    Ok(shaders)
}

fn message(name: &str, shader: &Shader) -> Value {
    // On the first line, so that line numbers stay.
    let enable = if shader.source.contains("subgroup") { "enable subgroups; " } else { "" };
    let pipelines: Vec<Value> = shader.pipelines.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
    json!({ "name": name, "code": format!("{enable}{}", shader.source), "pipelines": pipelines })
}

/// Prints the table; every error is said with its file and line.
fn report(shaders: &BTreeMap<String, Shader>, answer: &Value) -> Result<()> {
    println!("browser: {}", answer["adapter"].as_str().unwrap_or("no adapter"));
    if let Some(failure) = answer["failure"].as_str() {
        bail!("{failure}");
    }
    let empty = Vec::new();
    let answers = answer["modules"].as_array().unwrap_or(&empty);
    let mut rows = vec![["module", "lines", "pipelines", "errors", "ms"].map(str::to_owned).to_vec()];
    let (mut pipelines, mut wrong) = (0, Vec::new());
    for (name, shader) in shaders {
        let answer = answers.iter().find(|answer| answer["name"] == *name);
        let answer = answer.with_context(|| format!("the browser said nothing about {name}"))?;
        let errors = answer["errors"].as_array().unwrap_or(&empty);
        for error in errors {
            let line = error["line"].as_u64().and_then(|line| usize::try_from(line).ok()).unwrap_or(0);
            let origin = line.checked_sub(1).and_then(|line| shader.origins.get(line));
            wrong.push(format!("{name}: {} {}", origin.map_or("", String::as_str), text_of(error)));
        }
        pipelines += shader.pipelines.len();
        let numbers = [shader.origins.len(), shader.pipelines.len(), errors.len()].map(|number| number.to_string());
        let mut row = vec![name.clone()];
        row.extend(numbers);
        row.push(answer["milliseconds"].to_string());
        rows.push(row);
    }
    println!("{}", table::aligned(&rows));
    println!("{} modules and {pipelines} pipelines, {} errors", shaders.len(), wrong.len());
    for (name, _, reason) in BROKEN {
        let answer = answers.iter().find(|answer| answer["name"] == name).unwrap_or(&Value::Null);
        let error =
            answer["errors"].as_array().unwrap_or(&empty).iter().map(text_of).find(|text| text.contains(reason));
        match error {
            Some(error) => println!("rejected, as it must be: {name}: {}", error.lines().next().unwrap_or_default()),
            None => wrong.push(format!("{name}: the browser takes it, or refuses it for another reason")),
        }
    }
    if !wrong.is_empty() {
        bail!("{} errors\n{}", wrong.len(), wrong.join("\n"));
    }
    Ok(())
}

fn text_of(error: &Value) -> &str {
    error["text"].as_str().unwrap_or_default()
}

/// Chromium, installed from Debian where it is missing and may be.
fn find(repo: &Repository) -> Result<PathBuf> {
    if let Some(path) = on_path() {
        return Ok(path);
    }
    vulkan::install(repo, &["chromium"])?;
    on_path().context("this check needs Chromium: install it, so that `chromium` or `google-chrome` starts it")
}

fn on_path() -> Option<PathBuf> {
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|path| path.is_file())
}

/// Ends the browser whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Opens the page in a browser without a window and waits for what it posts.
fn ask(repo: &Repository, browser: &Path, shaders: &str) -> Result<Value> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let mut profile = std::ffi::OsString::from("--user-data-dir=");
    profile.push(repo.target.join("browser").join("profile"));
    let mut command = Command::new(browser);
    command
        .args(["--headless", "--no-sandbox", "--no-first-run", "--disable-dev-shm-usage", "--disable-gpu-watchdog"])
        .args(["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"])
        .arg(profile)
        .arg(format!("http://{address}/"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let started = command.spawn().with_context(|| format!("cannot start {}", browser.display()))?;
    let mut running = Running(started);
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        match listener.accept() {
            Ok((stream, _)) => {
                // One that is cut off is the browser's affair: it asks again.
                if let Ok(Some(body)) = serve(stream, shaders) {
                    return serde_json::from_str(&body).context("what the page posted is no JSON");
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if let Some(status) = running.0.try_wait()? {
                    bail!("{} ended ({status}) before it answered", browser.display());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error.into()),
        }
    }
    bail!("the browser gave no answer within {} seconds", PATIENCE.as_secs());
}

/// Answers one request of the page; the body, where it is the result.
fn serve(mut stream: TcpStream, shaders: &str) -> Result<Option<String>> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
        if header.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, kind, answer) = match request.split_whitespace().nth(1) {
        Some("/") => ("200 OK", "text/html", PAGE),
        Some("/shaders") => ("200 OK", "application/json", shaders),
        Some("/result") => ("200 OK", "text/plain", ""),
        _ => ("404 Not Found", "text/plain", ""),
    };
    let length = answer.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}"
    )?;
    Ok(request.starts_with("POST /result").then(|| String::from_utf8_lossy(&body).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shader() -> BTreeMap<String, Shader> {
        let origins = vec!["shaders/x.wgsl:7".to_owned()];
        let pipelines = BTreeSet::from([r#"{"entry":"forward","constants":{}}"#.to_owned()]);
        BTreeMap::from([("x".to_owned(), Shader { source: "// subgroupAdd".to_owned(), origins, pipelines })])
    }

    fn answer(errors: Value, of_broken: [Value; 2]) -> Value {
        let [barrier, memory] = of_broken;
        json!({ "adapter": "a", "modules": [
            { "name": "x", "milliseconds": 1, "errors": errors },
            { "name": BROKEN[0].0, "milliseconds": 1, "errors": barrier },
            { "name": BROKEN[1].0, "milliseconds": 1, "errors": memory },
        ] })
    }

    #[test]
    fn errors_are_named_and_broken_modules_must_be_rejected() {
        let rejected = [
            json!([{ "line": 1, "text": "must only be called from uniform control flow" }]),
            json!([{ "line": 0, "text": "the workgroup storage is too large" }]),
        ];
        report(&shader(), &answer(json!([]), rejected.clone())).unwrap();
        let error = report(&shader(), &answer(json!([{ "line": 1, "text": "no" }]), rejected.clone())).unwrap_err();
        assert!(error.to_string().contains("x: shaders/x.wgsl:7 no"), "{error}");
        for taken in 0..2 {
            let mut rejected = rejected.clone();
            rejected[taken] = json!([]);
            assert!(report(&shader(), &answer(json!([]), rejected)).unwrap_err().to_string().contains(BROKEN[taken].0));
        }
        assert!(report(&shader(), &json!({ "modules": [] })).is_err());
        assert!(report(&shader(), &json!({ "failure": "no adapter" })).is_err());
    }

    #[test]
    fn a_log_becomes_modules_and_distinct_pipelines() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let pipeline = r#"{"module":"x","entry":"forward","constants":{"LANES":1.0}}"#;
        let source = r#"{"module":"x","source":"fn f() {}","origins":["shaders/x.wgsl:1"]}"#;
        std::fs::write(&log, format!("{pipeline}\n{source}\n{pipeline}\n")).unwrap();
        let shaders = read(&log).unwrap();
        assert_eq!(shaders["x"].pipelines.len(), 1);
        let message = message("x", &shaders["x"]);
        assert_eq!(message["pipelines"][0]["constants"]["LANES"], 1.0);
        assert_eq!(message["code"], "fn f() {}");
        std::fs::write(&log, pipeline).unwrap();
        assert!(read(&log).is_err());
        assert!(self::message("x", &shader()["x"])["code"].as_str().unwrap().starts_with("enable subgroups; //"));
    }
}
