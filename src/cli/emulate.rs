//! `muster emulate`: DPS and IoT Hub device endpoints as a server, for any client.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::{exit, terminal};
use crate::azure::dps::GLOBAL_HOST;
use crate::azure::registration::{check_device_id, check_registration_id};
use crate::azure::sas::{DPS_OWNER_POLICY, HUB_OWNER_POLICY};
use crate::emulator::config::{Allocation, Attestation, Config, Enrollment, Hub, Reprovision, ServiceKeys};
use crate::emulator::drive::Drive;
use crate::emulator::sdk_ports::dialable;
use crate::emulator::serve::{self, Advertise, Running, StartError};
use crate::net::accept;
use crate::rng;
use crate::run::keys;
use crate::run::machine;
use crate::run::tell;
use crate::scenario;
use crate::text::Secret;
use crate::time::Clock;

/// Arguments of `muster emulate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The folder of --dir receives ca.pem (trust it: SSL_CERT_FILE for most clients), and a file for each generated key:
GROUP.key, and ID.env with the variables of Azure's quickstarts; services.env has connection strings of the services' own
APIs. They are readable by you alone.

Azure's SDKs for Python and C take no port with a host. Either they find DPS and hubs where they look for them
(--sdk-ports; 443 needs a privilege on most machines), or, for Python's, they are led here by the variable mqtt_proxy
(--connect-proxy), and the script keeps its real names. The start screen has the variables for both; with --connect-proxy they
are in ID.proxy-env as well.")]
pub(super) struct Arguments {
    /// File with [emulator] and [enrollment] tables; any scenario will do
    file: Option<PathBuf>,

    /// Folder for certificates and generated keys; what is in it is used again
    #[arg(long, value_name = "DIR", default_value = "emulator")]
    dir: PathBuf,

    /// Add an enrollment group with a generated key (repeatable)
    #[arg(long = "group", value_name = "NAME", value_parser = name)]
    groups: Vec<String>,

    /// Add an individual enrollment with a generated key (repeatable)
    #[arg(long = "individual", value_name = "REGISTRATION_ID[:DEVICE_ID]", value_parser = individual)]
    individuals: Vec<(String, Option<String>)>,

    /// Port of DPS; the hubs take those after it. 0: free ones
    #[arg(long, default_value_t = 8443)]
    port: u16,

    /// Listen on 8883 and 443 as well, where SDKs look for DPS and hubs and can be told no other port. Each of several hubs
    /// takes a loopback address of its own, 127.0.0.2 and those after it
    #[arg(long)]
    sdk_ports: bool,

    /// Open an HTTP proxy port (CONNECT) that leads to this emulator under Azure's names, and nowhere else. 0: a free one
    #[arg(long, value_name = "PORT")]
    connect_proxy: Option<u16>,

    /// Address to listen on, at all ports; clients are told it (localhost for 127.0.0.1 and 0.0.0.0)
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    listen: IpAddr,

    /// Allow an address that other machines can reach
    #[arg(long)]
    expose: bool,

    /// Worker threads [default: one per core]
    #[arg(long)]
    threads: Option<usize>,

    /// Seed of everything drawn
    #[arg(long)]
    seed: Option<u64>,

    /// Traffic to make for connected devices that subscribe to it: methods=5/s,c2d=2/s,desired=1/s
    #[arg(long, value_name = "KIND=RATE,...")]
    drive: Option<Drive>,
}

fn name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !text.is_empty() && text.len() <= 128 && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("use letters, digits, `-` and `_`".to_owned())
    }
}

fn individual(text: &str) -> Result<(String, Option<String>), String> {
    // A registration id may hold colons; the device id is what follows the last one.
    let (registration, device) = match text.rsplit_once(':') {
        Some((registration, device)) => (registration, Some(device.to_owned())),
        None => (text, None),
    };
    check_registration_id(registration).map_err(|error| error.to_string())?;
    if let Some(device) = &device {
        check_device_id(device).map_err(|error| error.to_string())?;
    }
    Ok((registration.to_owned(), device))
}

/// Serves until interrupted.
pub(super) fn run(arguments: &Arguments) -> u8 {
    match serve(arguments) {
        Ok(()) => exit::PASS,
        Err((text, code)) => {
            tell(text);
            code
        }
    }
}

type Failure = (String, u8);

fn failed(text: impl std::fmt::Display) -> Failure {
    (format!("error: {text}"), exit::FAILED)
}

fn serve(arguments: &Arguments) -> Result<(), Failure> {
    if !arguments.expose {
        accept::require_loopback(arguments.listen).map_err(|error| {
            (format!("error: {error}; add --expose if that is what you want"), exit::REFUSED)
        })?;
    }
    machine::raise_descriptor_limit();
    let mut folder = Folder::open(&arguments.dir)?;
    let (mut config, generated) = configure(arguments, &mut folder)?;
    config.service_keys = Some(folder.service_keys()?);
    config.drive = arguments.drive.unwrap_or(config.drive);
    let hub_ports = hub_ports(arguments.port, config.hubs.len())?;
    let sdk_ports = if arguments.sdk_ports { SDK_PORTS.to_vec() } else { Vec::new() };
    if let Some(port) = sdk_ports.iter().find(|port| hub_ports.contains(port) || arguments.port == **port) {
        let text = format!(
            "error: port {port} is one of --sdk-ports; choose another --port, which is for other clients"
        );
        return Err((text, exit::USAGE));
    }
    let options = serve::Options {
        threads: arguments.threads.unwrap_or_else(machine::cores).clamp(1, 256),
        listen: Some(arguments.listen),
        dps_port: arguments.port,
        hub_ports,
        certificate_dir: Some(arguments.dir.clone()),
        advertise: Advertise::Address,
        sdk_ports,
        connect_front: arguments.connect_proxy,
        ..serve::Options::default()
    };
    // Heard from before the first client can come, so that no interrupt is lost.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let interrupted = {
        let _inside = runtime.enter();
        interrupted().map_err(failed)?
    };
    let mut running = serve::start(&config, &options, Clock::machine()).map_err(|error| match error {
        StartError::NoSdkPorts(error) => (format!("error: --sdk-ports: {error}"), exit::USAGE),
        other => failed(other),
    })?;
    let ways = Ways::new(&running, &folder, &config.id_scope).map_err(failed)?;
    for key in &generated {
        folder.describe(key, &ways)?;
    }
    folder.describe_services(&running, ways.host(), &config)?;
    announce(&running, &ways, &config, &folder).map_err(failed)?;
    runtime.block_on(interrupted);
    let ledger = running.stop();
    let text = serde_json::to_string_pretty(&ledger).map_err(failed)?;
    // The reader of a pipe may have gone with the interrupt.
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(())
}

/// The ports of the hubs: those after that of DPS, or free ones if it has a free one.
fn hub_ports(dps: u16, hubs: usize) -> Result<Vec<u16>, Failure> {
    if dps == 0 {
        return Ok(vec![0; hubs]);
    }
    let last = u16::try_from(hubs).ok().and_then(|hubs| dps.checked_add(hubs));
    let Some(last) = last else {
        let lack = match hubs {
            1 => "no port for the hub, which takes the one".to_owned(),
            _ => format!("too few ports for {hubs} hubs, which take those"),
        };
        let most = usize::from(u16::MAX).saturating_sub(hubs);
        return Err((
            format!(
                "error: --port {dps} leaves {lack} after it; choose one up to {most}, or 0 for free ones"
            ),
            exit::USAGE,
        ));
    };
    Ok((dps..=last).skip(1).collect())
}

/// A key that was generated, and for whom.
struct Generated {
    name: String,
    registration_id: Option<String>,
    key: Secret,
}

fn configure(arguments: &Arguments, folder: &mut Folder) -> Result<(Config, Vec<Generated>), Failure> {
    let seed = arguments.seed.unwrap_or_else(rng::fresh_seed);
    let mut config = Config {
        seed,
        id_scope: "0ne00000001".to_owned(),
        dps: crate::emulator::config::Dps::default(),
        hubs: vec![Hub::new("hub", "hub.azure-devices.localhost")],
        allocation: Allocation::Hashed,
        enrollments: Vec::new(),
        stamps: false,
        message_ids: Vec::new(),
        service_keys: None,
        drive: Drive::default(),
    };
    if let Some(path) = &arguments.file {
        let environment = |name: &str| std::env::var(name).ok();
        let options = scenario::Options { seed: arguments.seed, ..scenario::Options::default() };
        let loaded = scenario::load_emulator(path, &options, &environment).map_err(|diagnostics| {
            (diagnostics.render(terminal::stderr_has_colour(), Some(terminal::stderr_columns())), exit::USAGE)
        })?;
        config.seed = loaded.seed;
        config.id_scope = loaded.target.id_scope;
        config.dps = loaded.target.dps;
        config.hubs = loaded.target.hubs;
        config.allocation = loaded.target.allocation;
        let sources = keys::Sources { environment: &environment, stdin: &mut std::io::stdin() };
        config.enrollments = keys::collect(&loaded.enrollments, loaded.seed, sources)
            .map_err(|error| (format!("error: {error}"), exit::USAGE))?
            .enrollments;
        // Keys that the file asks to have generated are only of use if a client can read them.
        for (enrollment, planned) in config.enrollments.iter().zip(&loaded.enrollments) {
            folder.keep_generated(enrollment, planned)?;
        }
    }
    let mut generated = Vec::new();
    let mut groups = arguments.groups.clone();
    if config.enrollments.is_empty() && groups.is_empty() && arguments.individuals.is_empty() {
        groups.push("default".to_owned());
    }
    let enrollment = |name: &str, attestation| Enrollment {
        name: name.to_owned(),
        attestation,
        enabled: true,
        allocation: None,
        reprovision: Reprovision::default(),
        initial_twin: None,
    };
    for name in groups {
        let primary = folder.key(&name)?;
        generated.push(Generated { name: name.clone(), registration_id: None, key: primary.clone() });
        config.enrollments.push(enrollment(&name, Attestation::Group { primary, secondary: None }));
    }
    for (registration_id, device_id) in arguments.individuals.clone() {
        let name = file_name(&registration_id);
        let primary = folder.key(&name)?;
        generated.push(Generated {
            name: name.clone(),
            registration_id: Some(registration_id.clone()),
            key: primary.clone(),
        });
        let attestation = Attestation::Individual { registration_id, device_id, primary, secondary: None };
        config.enrollments.push(enrollment(&name, attestation));
    }
    Ok((config, generated))
}

/// A registration id as a file name: colons are not welcome everywhere.
fn file_name(registration_id: &str) -> String {
    registration_id.replace(':', "_")
}

/// Where certificates and keys are kept.
struct Folder {
    path: PathBuf,
    files: Vec<String>,
}

impl Folder {
    fn open(path: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(path).map_err(|error| failed(format!("{}: {error}", path.display())))?;
        Ok(Self { path: path.to_owned(), files: Vec::new() })
    }

    /// The key of that name: the one kept, or a new one, which is kept.
    fn key(&mut self, name: &str) -> Result<Secret, Failure> {
        let file = format!("{name}.key");
        let path = self.path.join(&file);
        match keys::read_file(name, &path) {
            Ok(key) => Ok(key),
            Err(keys::KeyTrouble::Unreadable { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                let mut seed = [0; 8];
                rng::fill_from_system(&mut seed);
                let key = keys::generate(u64::from_le_bytes(seed), name, 0);
                self.write(&file, key.expose())?;
                Ok(key)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The keys of the services' own policies. No enrollment's key can have a file of these names.
    fn service_keys(&mut self) -> Result<ServiceKeys, Failure> {
        Ok(ServiceKeys { hub: self.key("iothubowner@hub")?, dps: self.key("provisioningserviceowner@dps")? })
    }

    /// Writes the connection strings that service SDKs want, under the names that Azure's samples use.
    fn describe_services(&mut self, running: &Running, dps: &str, config: &Config) -> Result<(), Failure> {
        let Some(keys) = &config.service_keys else { return Ok(()) };
        let string = |host: &str, policy: &str, key: &Secret| {
            let key = key.expose_text().unwrap_or_default().trim();
            format!("HostName={host};SharedAccessKeyName={policy};SharedAccessKey={key}")
        };
        let mut text = String::new();
        for (n, hub) in running.hubs().iter().enumerate() {
            let number = if n == 0 { String::new() } else { format!("_{}", n + 1) };
            // Service SDKs take no port either: with the ports where they look there are hosts without one.
            let host = running.sdk_hosts().get(n).unwrap_or(&hub.host);
            let string = string(host, HUB_OWNER_POLICY, &keys.hub);
            text.push_str(&format!("export IOTHUB_CONNECTION_STRING{number}='{string}'\n"));
        }
        let string = string(dps, DPS_OWNER_POLICY, &keys.dps);
        text.push_str(&format!("export PROVISIONING_CONNECTION_STRING='{string}'\n"));
        self.write("services.env", text.as_bytes())
    }

    fn keep_generated(
        &mut self,
        enrollment: &Enrollment,
        planned: &crate::plan::Enrollment,
    ) -> Result<(), Failure> {
        let (Attestation::Group { primary, .. } | Attestation::Individual { primary, .. }) =
            &enrollment.attestation
        else {
            return Ok(());
        };
        if planned.keys.is_generated() {
            self.write(&format!("{}.key", file_name(&enrollment.name)), primary.expose())?;
        }
        Ok(())
    }

    /// Writes the variables of Azure's quickstarts for an individual enrollment.
    fn describe(&mut self, generated: &Generated, ways: &Ways) -> Result<(), Failure> {
        let Some(registration_id) = &generated.registration_id else { return Ok(()) };
        let key = generated.key.expose_text().unwrap_or_default();
        let own = format!(
            "export PROVISIONING_REGISTRATION_ID='{registration_id}'\nexport PROVISIONING_SYMMETRIC_KEY='{}'\n",
            key.trim()
        );
        self.write(&format!("{}.env", generated.name), format!("{}{own}", ways.variables()).as_bytes())?;
        if let Some(variables) = ways.proxy_variables() {
            self.write(&format!("{}.proxy-env", generated.name), format!("{variables}{own}").as_bytes())?;
        }
        Ok(())
    }

    /// Writes a file that only its owner may read, whole or not at all.
    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.path.join(name);
        let told = |error: std::io::Error| failed(format!("{}: {error}", path.display()));
        let temporary = self.path.join(format!(".{name}.new"));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let mut file = options.open(&temporary).map_err(told)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(told)?;
        std::fs::rename(&temporary, &path).map_err(told)?;
        self.files.push(name.to_owned());
        Ok(())
    }
}

/// Where clients find the emulator and what they are to trust, as shells take it.
struct Ways {
    dps: String,
    /// The host of DPS at the ports where SDKs look, if there are such.
    sdk_dps: Option<String>,
    /// The CONNECT front, as a URL.
    proxy: Option<String>,
    id_scope: String,
    /// The authority's file.
    ca: String,
}

impl Ways {
    fn new(running: &Running, folder: &Folder, id_scope: &str) -> std::io::Result<Self> {
        let ca = std::path::absolute(folder.path.join("ca.pem"))?.display().to_string();
        Ok(Self {
            dps: dialable(running.dps()),
            sdk_dps: running.sdk_dps().map(str::to_owned),
            proxy: running.connect_front().map(|mut address| {
                if address.ip().is_unspecified() {
                    address.set_ip(IpAddr::from([127, 0, 0, 1]));
                }
                format!("http://{address}")
            }),
            id_scope: id_scope.to_owned(),
            ca: format!("'{}'", ca.replace('\'', r"'\''")),
        })
    }

    /// The host of DPS for a client that may be told a port, and for one that may not if it can get here.
    fn host(&self) -> &str {
        self.sdk_dps.as_deref().unwrap_or(&self.dps)
    }

    fn variables(&self) -> String {
        let (host, id_scope, ca) = (self.host(), &self.id_scope, &self.ca);
        format!(
            "export PROVISIONING_HOST='{host}'\nexport PROVISIONING_IDSCOPE='{id_scope}'\n\
             export SSL_CERT_FILE={ca}\nexport NODE_EXTRA_CA_CERTS={ca}\n"
        )
    }

    fn proxy_variables(&self) -> Option<String> {
        let (proxy, id_scope, ca) = (self.proxy.as_ref()?, &self.id_scope, &self.ca);
        Some(format!(
            "export PROVISIONING_HOST='{GLOBAL_HOST}'\nexport PROVISIONING_IDSCOPE='{id_scope}'\n\
             export SSL_CERT_FILE={ca}\nexport mqtt_proxy='{proxy}'\n"
        ))
    }
}

/// Says where everything is, a fact a line, `ready` last: a script can wait for that line.
fn announce(running: &Running, ways: &Ways, config: &Config, folder: &Folder) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<10}{}", "DPS", ways.dps)?;
    writeln!(out, "{:<10}{}", "id scope", config.id_scope)?;
    for hub in running.hubs() {
        writeln!(out, "{:<10}{}  ({})", "hub", hub.host, hub.name)?;
    }
    writeln!(out, "{:<10}{}", "trust", folder.path.join("ca.pem").display())?;
    for enrollment in &config.enrollments {
        let kind = match enrollment.attestation {
            Attestation::Group { .. } => "group",
            Attestation::Individual { .. } => "individual",
            Attestation::List(_) => "list",
        };
        writeln!(out, "{:<10}{kind} {}", "enrolled", enrollment.name)?;
    }
    for file in &folder.files {
        writeln!(out, "{:<10}{}", "wrote", folder.path.join(file).display())?;
    }
    let Ways { id_scope, ca, .. } = ways;
    if let Some(dps) = &ways.sdk_dps {
        let hubs = running.hubs().iter().zip(running.sdk_hosts());
        let hubs: Vec<String> = hubs.map(|(hub, host)| format!("{host} ({})", hub.name)).collect();
        writeln!(out, "{:<10}8883 and 443: DPS {dps}, hub {}", "SDK ports", hubs.join(", "))?;
        let host = format!("PROVISIONING_HOST={dps} PROVISIONING_IDSCOPE={id_scope}");
        writeln!(out, "{:<10}export SSL_CERT_FILE={ca} {host}", "Python")?;
        writeln!(out, "{:<10}export NODE_EXTRA_CA_CERTS={ca} {host}", "Node")?;
        writeln!(out, "{:<10}export SSL_CERT_FILE={ca} {host}", "C")?;
    }
    if let Some(proxy) = &ways.proxy {
        writeln!(out, "{:<10}{proxy} leads to this emulator and nowhere else", "proxy")?;
        let host = format!("PROVISIONING_HOST={GLOBAL_HOST} PROVISIONING_IDSCOPE={id_scope}");
        writeln!(out, "{:<10}export SSL_CERT_FILE={ca} mqtt_proxy={proxy} {host}", "Python")?;
    }
    writeln!(out, "{:<10}stop with Ctrl-C; the ledger follows", "ready")?;
    out.flush()
}

/// At which SDKs look for DPS and hubs: MQTT, and HTTPS with WebSockets.
const SDK_PORTS: [u16; 2] = [8883, 443];

/// Listens for interrupts from the call on; the future ends with the first. Needs a runtime.
fn interrupted() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
