// The page for people: signing in, one event stream for the board, and the strip for operators.

import { choose, clear, introduce, knows, later, shownIds } from "./board.js";

const $ = (id) => document.getElementById(id);
const FINE = new Set(["ok", "pending", "calendar.opted_out"]);

let source = null;
let heard = null; // ids heard of since the stream began or was reset; null once it is in step
let retries = 0;
let retryTimer = 0;
let healthTimer = 0;
let greeting = 0;
let patience = 2_500; // milliseconds until the strip asks again about calendars that were not read yet, doubled each time

// Talking to the gateway

async function call(path, method = "GET", body = undefined) {
  const options = { method, credentials: "same-origin", cache: "no-store" };
  if (body !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  const response = await fetch(path, options);
  const media = response.headers.get("Content-Type") || "";
  const value = media.includes("json") ? await response.json() : null;
  return { status: response.status, ok: response.ok, value };
}

async function all(path, field) {
  const found = [];
  for (let next = path; next; ) {
    const answer = await call(next);
    if (!answer.ok) return { status: answer.status, problem: answer.value, found };
    found.push(...answer.value[field]);
    // The next page's address is absolute on the server; a proxy may have put us under another path.
    next = answer.value.next ? path + answer.value.next.slice(answer.value.next.indexOf("?")) : null;
  }
  return { status: 200, problem: null, found };
}

async function signIn(token) {
  const answer = await call("v1/session", "POST", { token });
  if (answer.ok) return true;
  const problem = answer.value || {};
  ask(answer.status === 401 ? "This token is unknown or has expired." : problem.title || "Signing in failed.");
  return false;
}

async function begin() {
  clearTimeout(retryTimer);
  let directory;
  try {
    directory = await all("v1/people", "people");
  } catch {
    return again("The gateway cannot be reached.");
  }
  if (directory.status === 401) {
    const ended = (directory.problem || {}).code === "auth.session_ended";
    return ask(ended ? "Your session has ended. Please sign in again." : "");
  }
  if (directory.status === 403) return ask((directory.problem || {}).title || "You may not watch presence.");
  if (directory.status !== 200) return again("The gateway cannot answer now.");
  introduce(directory.found);
  $("signin").hidden = true;
  $("tools").hidden = false;
  listen();
  health();
}

function again(reason) {
  disconnected(reason);
  clearTimeout(retryTimer);
  retryTimer = setTimeout(begin, Math.min(30, 2 ** Math.min(retries++, 5)) * (500 + 500 * Math.random()));
}

function ask(refusal) {
  stop();
  $("link").textContent = "Signed out";
  $("link").className = "";
  $("alarm").hidden = true;
  document.body.classList.remove("cut");
  $("tools").hidden = true;
  $("health").hidden = true;
  $("signin").hidden = false;
  $("refusal").textContent = refusal;
  $("token").focus();
}

function stop() {
  if (source) source.close();
  source = null;
  clearTimeout(retryTimer);
  clearTimeout(healthTimer);
  clear();
  document.title = "Presence";
}

function listen() {
  if (source) source.close();
  source = new EventSource("v1/stream");
  heard = new Set();
  source.addEventListener("presence", (event) => {
    const shown = JSON.parse(event.data);
    if (heard) heard.add(shown.person);
    later(shown.person, shown);
    if (!knows(shown.person)) greet();
  });
  source.addEventListener("gone", (event) => later(JSON.parse(event.data).person, null));
  source.addEventListener("reset", () => { heard = new Set(); });
  source.addEventListener("synced", () => {
    // After a reset, or in a new stream, whoever was not mentioned is not there any more. A resumed stream
    // mentions only the changed, so nothing follows from silence in it.
    if (heard) for (const id of shownIds()) if (!heard.has(id)) later(id, null);
    heard = null;
    connected();
  });
  source.addEventListener("bye", () => disconnected("The gateway is restarting."));
  source.addEventListener("error", lost);
}

function lost() {
  disconnected("Connection lost.");
  // The browser tries again by itself unless the answer was an error; then we find out which.
  if (source && source.readyState === EventSource.CLOSED) again("Connection lost.");
}

// Somebody came who is not in the directory as we read it: read it again, once for all who come together.
function greet() {
  if (greeting) return;
  greeting = setTimeout(async () => {
    greeting = 0;
    try {
      const directory = await all("v1/people", "people");
      if (directory.status === 200) introduce(directory.found);
    } catch {
      // The stream tells about a lost connection; the cards show ids until the next one comes.
    }
  }, 1000);
}

function connected() {
  retries = 0;
  $("link").textContent = "Live";
  $("link").className = "live";
  $("alarm").hidden = true;
  document.body.classList.remove("cut");
  document.title = "Presence";
}

function disconnected(reason) {
  $("link").textContent = "Disconnected";
  $("link").className = "";
  $("alarm").textContent = `${reason} What you see below is old; trying again.`;
  $("alarm").hidden = false;
  document.body.classList.add("cut");
  document.title = "Disconnected – Presence";
}

// The strip for operators

async function health() {
  clearTimeout(healthTimer);
  let unread = false;
  try {
    const servers = await call("v1/calendars");
    if (!servers.ok) {
      $("health").hidden = true;
      return;
    }
    const lines = await Promise.all(servers.value.calendars.map(line));
    $("health").replaceChildren(...lines);
    $("health").hidden = lines.length === 0;
    unread = lines.some((node) => node.classList.contains("unread"));
  } catch {
    // The stream tells about a lost connection.
  }
  // What has not been read yet will be soon; what never is must not cost much.
  patience = unread ? Math.min(60_000, patience * 2) : 2_500;
  healthTimer = setTimeout(health, unread ? patience : 60_000);
}

async function line(server) {
  const name = String(server.name);
  const boxes = await all(`v1/calendars/${encodeURIComponent(name)}/mailboxes`, "mailboxes");
  const refused = new Map();
  for (const box of boxes.found) {
    if (box.code && !FINE.has(box.code)) refused.set(box.code, (refused.get(box.code) || 0) + 1);
  }
  const waiting = boxes.found.filter((box) => box.code === "pending").length;
  const own = server.code && !FINE.has(server.code) ? [server.code] : [];
  const counts = [...refused].sort((a, b) => b[1] - a[1]).map(([code, count]) => `${count} × ${code}`);
  const node = document.createElement("p");
  const troubles = [...own, ...counts];
  node.className = troubles.length ? "bad" : "good";
  if (waiting) node.classList.add("unread");
  const said = waiting ? [...troubles, `${waiting} not read yet`] : troubles;
  node.textContent = `${name}: ${said.length ? said.join(", ") : "all mailboxes answer"}`;
  if (server.remedy) node.title = server.remedy;
  return node;
}

// Start

$("filter").addEventListener("input", (event) => choose(event.target.value));

$("signin").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = $("token").value.trim();
  $("token").value = "";
  try {
    if (await signIn(token)) await begin();
  } catch {
    ask("The gateway cannot be reached.");
  }
});

$("leave").addEventListener("click", async () => {
  try {
    await call("v1/session", "DELETE");
    ask("");
  } catch {
    disconnected("The gateway cannot be reached, so you are still signed in.");
  }
});

addEventListener("offline", () => disconnected("This computer is offline."));

const token = new URLSearchParams(location.hash.slice(1)).get("token");
if (token) {
  history.replaceState(null, "", location.pathname + location.search);
  signIn(token).then((admitted) => admitted && begin(), () => ask("The gateway cannot be reached."));
} else {
  begin();
}
