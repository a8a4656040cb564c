//! A machine of scripts: the commands that a test puts there, the system's own for the shell, and nothing else.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::script::write_script;

/// What the scripts themselves use.
const SYSTEM: [&str; 22] = [
    "awk", "bash", "cat", "chmod", "cut", "dirname", "env", "flock", "grep", "head", "kill", "ln", "mkdir", "mktemp",
    "rm", "sed", "sh", "sleep", "sort", "tee", "touch", "true",
];
/// A compiler that takes everything.
const COMPILER: &str = "exit 0";
/// Python as Debian installs it with python3-venv; `pip` does what the machine's file `pip` says.
const PYTHON: &str = r#"
case "$*" in
    *"-m venv"*)
        for folder; do :; done
        rm -rf "$folder"; mkdir -p "$folder/bin" "$folder/lib/python3/site-packages/torch"
        ln -s "$MACHINE/bin/pip" "$folder/bin/python" ;;
esac"#;

/// A copy of the project's scripts and a PATH.
pub struct Machine {
    folder: TempDir,
    is_root: bool,
    variables: Vec<(&'static str, String)>,
}

impl Machine {
    /// With Rust and what the set-up needs, but the commands of `missing`.
    pub fn without(missing: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let machine = Self { folder, is_root: true, variables: Vec::new() };
        fs::create_dir_all(machine.path("project/launch")).unwrap();
        fs::create_dir_all(machine.path("bin")).unwrap();
        for name in ["launch/setup.sh", "launch/cargo.sh", "Cargo.toml"] {
            fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(name), machine.path("project").join(name)).unwrap();
        }
        for name in SYSTEM {
            let found =
                ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(name)).into_iter().find(|at| at.exists());
            symlink(found.unwrap_or_else(|| panic!("no {name}")), machine.path("bin").join(name)).unwrap();
        }
        let include = machine.path("include").display().to_string();
        for (name, body) in [
            ("cargo", "echo 'cargo 1.99.0 (0 2026-01-01)'"),
            ("cc", COMPILER),
            ("c++", COMPILER),
            ("mpicc", &wrapper("openmpi", &include)),
            ("mpirun", "echo 'mpirun (Open MPI) 4.1.4'"),
            ("python3", PYTHON),
            ("pip", "exit 0"),
            ("df", "echo 'Filesystem 1024-blocks Used Available Capacity Mounted'; echo '/dev/a 9 9 90000000 1% /'"),
            ("dpkg", "exit 0"),
            ("apt-get", r#"echo "apt-get $*" >>"$MACHINE/packages""#),
        ] {
            if !missing.contains(&name) {
                machine.script(name, body);
            }
        }
        if !missing.contains(&"mpi.h") {
            fs::create_dir(machine.path("include")).unwrap();
            fs::write(machine.path("include/mpi.h"), "").unwrap();
        }
        machine
    }

    /// With a libtorch that the user names.
    pub fn with_libtorch(self) -> Self {
        fs::create_dir_all(self.path("libtorch/lib")).unwrap();
        fs::write(self.path("libtorch/lib/libtorch_cpu.so"), "").unwrap();
        let libtorch = self.path("libtorch").display().to_string();
        self.with("LIBTORCH", &libtorch)
    }

    pub fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.variables.push((variable, value.to_owned()));
        self
    }

    /// For a user who may install nothing.
    pub fn of_a_plain_user(self) -> Self {
        Self { is_root: false, ..self }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command, in the place of one that may be there.
    pub fn script(&self, name: &str, body: &str) {
        write_script(&self.path("bin").join(name), &format!("#!/bin/sh\n{body}\n"));
    }

    /// MPICH's compiler and launcher, of which the machine may lack some.
    pub fn with_mpich(self, parts: &[&str]) -> Self {
        let include = self.path("include").display().to_string();
        for &part in parts {
            match part {
                "mpicc" => self.script("mpicc", &wrapper("mpich", &include)),
                _ => self.script("mpirun", "echo 'HYDRA build details:'; echo '    Version: 4.0.2'"),
            }
        }
        self
    }

    /// A call of a script of the project.
    pub fn command(&self, script: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/env");
        // What decides is the user that the shell runs as.
        if !self.is_root && is_root() {
            command.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        command.arg("/bin/bash").arg(self.path("project/launch").join(script)).args(arguments);
        command.current_dir(self.path("project")).env_clear();
        command.env("PATH", self.path("bin")).env("HOME", self.path("")).env("MACHINE", self.path(""));
        // `env` and `setpriv` are looked for on the system's PATH, the script's commands on the machine's.
        let path = self.path("bin").display().to_string();
        command.env("PATH", format!("{path}:/usr/bin:/bin")).env("BASH_ENV", self.path("path"));
        fs::write(self.path("path"), format!("PATH={path}\n")).unwrap();
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// `launch/setup.sh` to its end.
    pub fn set_up(&self) -> Output {
        self.command("setup.sh", &[]).output().unwrap()
    }

    /// The packages that the set-up has installed, or would have: the machine stays as it is.
    pub fn installed(&self) -> Vec<String> {
        let output = self.set_up();
        let calls = fs::read_to_string(self.path("packages")).unwrap_or_default();
        let install = calls.lines().find(|call| call.contains(" install "));
        let packages = install.into_iter().flat_map(|call| call.split_whitespace().skip(1));
        let packages: Vec<String> = packages
            .filter(|word| !word.starts_with('-') && !word.contains('=') && *word != "install")
            .map(Into::into)
            .collect();
        // Nothing to install is success; what has not become usable is told.
        assert_eq!(output.status.success(), packages.is_empty(), "{}", stderr(&output));
        packages
    }

    /// The only line of a set-up that fails.
    pub fn refusal(&self) -> String {
        let output = self.set_up();
        let stderr = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        stderr.trim_end().to_owned()
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A compiler wrapper that says what it calls, and finds the header if it is there.
fn wrapper(family: &str, include: &str) -> String {
    format!(
        "case $1 in -show) echo 'gcc -I{include} -L/usr/lib/{family}/lib -lmpi' ;; *) test -e {include}/mpi.h ;; esac"
    )
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout.starts_with(b"0\n")
}
