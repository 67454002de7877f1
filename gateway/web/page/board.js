// The board: one card per person and group. Nothing is drawn that did not change, and texts from outside reach the
// document as textContent and attributes only, never as markup.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const CIRCLE = "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Z";

// A shape for each state beside its colour, so that neither is needed alone.
const SHAPES = {
  on_the_phone:
    "M3.6 1.5 6 1.2l1.2 3.1-1.5 1.3a9 9 0 0 0 4.2 4.2l1.4-1.5 3.1 1.2-.3 2.4a2 2 0 0 1-2 1.8A11.3 11.3 0 0 1 1.8 3.5" +
    "a2 2 0 0 1 1.8-2Z",
  in_meeting: "M2 3h12v11H2ZM4 7v5h8V7ZM4 1h2v2H4ZM10 1h2v2h-2Z",
  out_of_office: "M2 2h7v2H4v8h5v2H2ZM10 4.5 14.5 8 10 11.5V9H6.5V7H10Z",
  available: CIRCLE + "m3.4 4.3 1.1 1.1L7.1 11.8 3.6 8.3l1.1-1.1 2.4 2.4Z",
  idle: CIRCLE + "m0 2.2v9.6a4.8 4.8 0 0 1 0-9.6Z",
  away: CIRCLE + "M7 4h2v3.6l2.6 1.6-1 1.7L7 8.7Z",
  be_right_back: "M7 3 1 8l6 5V9.8c3.5 0 5.8.9 8 3.7-.6-4.6-3.2-7.2-8-7.5Z",
  busy: "M8 .8 15.2 8 8 15.2.8 8Z",
  do_not_disturb: CIRCLE + "M4 7h8v2H4Z",
  offline: CIRCLE + "m0 2.2a4.8 4.8 0 1 1 0 9.6 4.8 4.8 0 0 1 0-9.6Z",
  unknown:
    "M4.8 5.9C4.8 3.9 6.2 2.5 8.1 2.5c1.9 0 3.2 1.2 3.2 2.9 0 1.5-.8 2.2-1.6 2.8-.7.5-.9.8-.9 1.6H7c0-1.6.6-2.2 1.4-2.8" +
    ".6-.5.9-.8.9-1.5 0-.7-.5-1.2-1.2-1.2-.8 0-1.3.6-1.3 1.6ZM7 11.2h1.9v2H7Z",
};
const OTHERS = "Everybody else";

const people = new Map(); // id -> {id, name, groups}
const documents = new Map(); // id -> the newest document
const cards = new Map(); // id -> the cards that show it
const sections = new Map(); // group -> {root, list, count}
const waiting = new Map(); // id -> document, or null for gone; drawn with the next frame
let wish = ""; // the filter in lower case

// The directory: names and groups. Who changed is placed anew.
export function introduce(directory) {
  const before = new Map(people);
  people.clear();
  for (const person of directory) people.set(person.id, person);
  for (const [id, shown] of [...documents]) {
    if (JSON.stringify(before.get(id)) === JSON.stringify(people.get(id))) continue;
    remove(id);
    if (!waiting.has(id)) later(id, shown);
  }
}

export function knows(id) {
  return people.has(id);
}

export function shownIds() {
  return [...new Set([...documents.keys(), ...waiting.keys()])];
}

export function choose(text) {
  wish = text.trim().toLowerCase();
  for (const [id, shown] of documents) {
    for (const card of cards.get(id)) card.root.hidden = !chosen(card, shown);
  }
  count();
}

export function clear() {
  waiting.clear();
  for (const id of [...documents.keys()]) remove(id);
  $("empty").hidden = true;
}

export function later(id, shown) {
  if (waiting.size === 0) requestAnimationFrame(draw);
  waiting.set(id, shown);
}

function draw() {
  if (waiting.size === 0) return; // cleared meanwhile
  const news = [...waiting];
  waiting.clear();
  for (const [id, shown] of news) shown ? show(id, shown) : remove(id);
  count();
}

function count() {
  for (const section of sections.values()) tally(section);
  $("empty").hidden = [...sections.values()].some((section) => !section.root.hidden);
}

function show(id, shown) {
  documents.set(id, shown);
  if (!cards.has(id)) cards.set(id, place(id));
  for (const card of cards.get(id)) fill(card, shown);
}

function remove(id) {
  documents.delete(id);
  for (const card of cards.get(id) || []) {
    card.root.remove();
    tally(card.section);
  }
  cards.delete(id);
}

function place(id) {
  const person = people.get(id) || { id, name: id, groups: [] };
  const groups = person.groups.length ? person.groups : [OTHERS];
  return groups.map((group) => {
    const section = sectionOf(group);
    const card = makeCard(person, group);
    card.section = section;
    insert(section.list, card.root, person.name + "\n" + id);
    return card;
  });
}

function sectionOf(group) {
  if (!sections.has(group)) {
    const root = document.createElement("section");
    const heading = document.createElement("h2");
    const count = document.createElement("span");
    const list = document.createElement("ul");
    count.className = "count";
    heading.append(group, " ", count);
    root.append(heading, list);
    // Those without a group come last.
    insert($("board"), root, (group === OTHERS ? "1" : "0") + group);
    sections.set(group, { root, list, count });
  }
  return sections.get(group);
}

const order = new Intl.Collator();
const sortKeys = new WeakMap();

function insert(parent, node, key) {
  sortKeys.set(node, key);
  let low = 0;
  for (let high = parent.children.length; low < high; ) {
    const middle = (low + high) >> 1;
    if (order.compare(sortKeys.get(parent.children[middle]), key) < 0) low = middle + 1;
    else high = middle;
  }
  parent.insertBefore(node, parent.children[low] || null);
}

function tally(section) {
  const visible = [...section.list.children].filter((card) => !card.hidden).length;
  write(section.count, String(visible));
  section.root.hidden = visible === 0;
}

function makeCard(person, group) {
  const root = document.createElement("li");
  const icon = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  icon.setAttribute("viewBox", "0 0 16 16");
  icon.setAttribute("aria-hidden", "true");
  path.setAttribute("fill-rule", "evenodd");
  icon.append(path);
  const [name, label, more] = ["name", "label", "more"].map((part) => {
    const line = document.createElement("p");
    line.className = part;
    return line;
  });
  const marks = document.createElement("div");
  marks.className = "marks";
  name.textContent = person.name;
  root.append(icon, name, label, marks, more);
  return { root, icon, path, label, marks, more, person, group };
}

function fill(card, shown) {
  const { effective } = shown;
  const state = Object.hasOwn(SHAPES, effective.state) ? effective.state : "unknown";
  const stale = Object.entries(shown.components || {}).filter(([, component]) => component.stale);
  set(card.icon, "class", state);
  set(card.path, "d", SHAPES[state]);
  write(card.label, effective.label);
  write(card.more, details(shown));
  set(card.root, "title", shown.tooltip || effective.label);
  set(card.root, "data-person", shown.person);
  set(card.root, "data-state", effective.state);
  set(card.root, "data-reach", shown.reach);
  card.root.classList.toggle("stale", stale.length > 0);
  const marks = [];
  if (shown.reach === "do_not_disturb" && effective.state !== "do_not_disturb") marks.push(["dnd", "Do not disturb"]);
  for (const [kind, component] of stale) marks.push(["old", `${kind} as of ${hour(component.as_of)}`]);
  const key = JSON.stringify(marks);
  if (card.marked !== key) {
    card.marked = key;
    card.marks.replaceChildren(...marks.map(([kind, text]) => {
      const mark = document.createElement("span");
      mark.className = `mark ${kind}`;
      mark.textContent = text;
      return mark;
    }));
  }
  card.root.hidden = !chosen(card, shown);
}

function details(shown) {
  const { effective, components } = shown;
  const parts = [];
  // Not what the label says already; "Online" alone is the availability's word for "Available".
  const known = [effective.label, components?.availability?.label];
  if (shown.tooltip && !known.includes(shown.tooltip)) parts.push(shown.tooltip);
  if (effective.since) parts.push(`since ${hour(effective.since)}`);
  if (effective.until && effective.until !== shown.next?.at) parts.push(`until ${hour(effective.until)}`);
  if (shown.next) parts.push(`then ${shown.next.effective.label} at ${hour(shown.next.at)}`);
  if (components?.calendar?.state === "unknown") parts.push("calendar unknown");
  return parts.join(" · ");
}

function hour(text) {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return "?";
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const today = at.toDateString() === new Date().toDateString();
  return today ? time : `${at.toLocaleDateString([], { day: "numeric", month: "short" })} ${time}`;
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function set(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

function chosen(card, shown) {
  if (!wish) return true;
  const { name, id } = card.person;
  return [name, id, card.group, shown.effective.label].some((text) => text.toLowerCase().includes(wish));
}
