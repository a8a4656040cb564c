//! Pages in a real browser: headless Chromium opens a page at two widths and in both colour schemes.
//!
//! The page stands unchanged in frames of a page of ours, whose script looks at it and writes down what it sees; the
//! page's own policy forbids scripts and whatever is not in it, and Chromium tells on the console what it had to refuse.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

/// Pixels of a phone and of a desk.
const WIDTHS: [usize; 2] = [360, 1280];
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

const SCRIPT: &str = r#"
addEventListener("load", () => {
    const seen = [...document.querySelectorAll("iframe")].map(frame => {
        const page = frame.contentDocument;
        const of = selector => [...page.querySelectorAll(selector)];
        return {
            width: page.documentElement.clientWidth,
            content_width: page.documentElement.scrollWidth,
            requests: frame.contentWindow.performance.getEntriesByType("resource").length,
            background: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
            text: page.body.innerText,
            links: of("a").map(link => link.getAttribute("href")),
            figures: of(".figure svg").length,
            scripts: of("script, iframe, object, img, link").length,
        };
    });
    document.body.innerHTML = "";
    document.body.textContent = "SEEN" + JSON.stringify(seen) + "NEES";
});
"#;

/// What is seen of a page at one width.
#[derive(Debug, Deserialize)]
pub struct View {
    /// Of the window, without its scroll bar.
    pub width: usize,
    /// More than that where something sticks out.
    pub content_width: usize,
    pub requests: usize,
    pub background: String,
    /// What can be read without opening anything.
    pub text: String,
    pub links: Vec<String>,
    pub figures: usize,
    /// Elements that could load or do something.
    pub scripts: usize,
}

/// Opens `page` narrow and wide, light and dark; nothing sticks out, is loaded, runs, or is complained of. Returns the
/// wide view in light colours.
pub fn look_at(page: &Path) -> View {
    let page = fs::read_to_string(page).unwrap();
    let [light, dark] = [("1", "light"), ("0", "dark")].map(|(scheme, name)| {
        let views = open(&page, scheme);
        for view in &views {
            let View { width, content_width, requests, scripts, .. } = view;
            assert!(content_width <= width, "{name}: {content_width} pixels of content in {width}");
            assert_eq!((*requests, *scripts), (0, 0), "{name}, {width} pixels");
        }
        views
    });
    assert_eq!([light.len(), dark.len()], [WIDTHS.len(); 2]);
    assert_ne!(light[0].background, dark[0].background);
    light.into_iter().next_back().unwrap()
}

fn open(page: &str, scheme: &str) -> Vec<View> {
    let folder = tempfile::tempdir().unwrap();
    let quoted = page.replace('&', "&amp;").replace('"', "&quot;");
    let frames = WIDTHS.map(|width| format!("<iframe width=\"{width}\" height=\"800\" srcdoc=\"{quoted}\"></iframe>"));
    let outer = folder.path().join("outer.html");
    let text = format!("<!doctype html><meta charset=\"utf-8\"><body>{}<script>{SCRIPT}</script>", frames.concat());
    fs::write(&outer, text).unwrap();
    let mut command = Command::new(browser());
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-dev-shm-usage", "--enable-logging=stderr"]);
    command.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
    command.arg(format!("--blink-settings=preferredColorScheme={scheme}"));
    let output = command.arg("--dump-dom").arg(format!("file://{}", outer.display())).output().unwrap();
    let console: Vec<String> = String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .map(str::to_owned)
        .collect();
    assert_eq!(console, Vec::<String>::new());
    let dom = String::from_utf8(output.stdout).unwrap();
    let seen = dom.split("SEEN").nth(1).and_then(|seen| seen.split("NEES").next());
    let seen = seen.unwrap_or_else(|| panic!("nothing was seen: {dom}"));
    let seen = seen.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", "\u{a0}").replace("&amp;", "&");
    serde_json::from_str(&seen).unwrap()
}

fn browser() -> &'static str {
    let is_there =
        |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    BROWSERS.into_iter().find(is_there).expect("no Chromium on the PATH: run launch/setup.sh test")
}
