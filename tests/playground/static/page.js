"use strict";
// The page: draws what /api/state says, and sends what people do. No framework, no build step.

const POLL_MS = 250;
const WORDLESS = ["picture", "file"];
const KINDS = ["text", "voice", "rich_text", "picture", "file"];
const NOT_IN_GROUP = ["voice", "file"];
const COLOURS = ["#ff8f1f", "#00a870", "#9254de", "#eb2f96"];

const byId = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];

let state = null; // what the server said last
let version = "";
let place = "private";
let person = "";
let kind = "text";
let quotation = "";
let selected = 0; // number of the message whose way is shown; 0: the last one
let drawnChat = ""; // which chat the bubbles on the page belong to

// -- building blocks ---------------------------------------------------------------------------------------

/** An element; children are elements or texts, never HTML. */
function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made && key !== "list" && key !== "role") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function avatar(nick) {
  if (!nick) return element("img", { src: "bot.svg", alt: "", className: "avatar" });
  const made = element("span", { className: "avatar", "aria-hidden": "true" }, nick.slice(-2));
  made.style.background = COLOURS[Math.max(state.people.indexOf(nick), 0) % COLOURS.length];
  return made;
}

async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, options);
  if (answer.status === 204) return null;
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.problem || answer.statusText);
  return found;
}

/** Run something that a person asked for; what goes wrong is told on the page. */
async function attempt(action) {
  byId("problem").hidden = true;
  try {
    await action();
  } catch (error) {
    tell(error.message);
  }
}

function tell(problem) {
  byId("problem").textContent = problem;
  byId("problem").hidden = false;
}

function duration(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

// -- the chat ----------------------------------------------------------------------------------------------

const here = (item) => item.place === place && (place === "group" || item.owner === person);

/** Markdown as DingTalk shows it: no tables, no raw HTML, lines are joined unless two blanks end them. */
const markdown = new marked.Marked({ gfm: true, breaks: false });
markdown.use({
  tokenizer: { table: () => undefined, del: () => undefined },
  renderer: {
    html: ({ text: source }) => escaped(source),
    image: ({ text: name }) => `<span class="image">[${escaped(name)}]</span>`,
    link({ href, tokens }) {
      const words = this.parser.parseInline(tokens);
      return /^https?:/i.test(href) ? `<a href="${escaped(href)}" target="_blank" rel="noopener noreferrer">${words}</a>` : words;
    },
  },
});

function escaped(source) {
  const characters = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return source.replace(/[&<>"']/g, (character) => characters[character]);
}

/** In all texts below the element, @id becomes a highlighted @name, as in DingTalk. */
function highlightAt(root, ats) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const nodes = [];
  while (walker.nextNode()) nodes.push(walker.currentNode);
  for (const node of nodes) {
    for (const at of ats) {
      const start = node.data.indexOf(`@${at.id}`);
      if (start < 0) continue;
      const rest = node.splitText(start);
      rest.deleteData(0, at.id.length + 1);
      rest.before(element("span", { className: "at" }, `@${at.nick}`));
      break;
    }
  }
}

function words(bubble) {
  const made = element("div", { className: "words" });
  if (bubble.quotation) made.append(element("blockquote", {}, bubble.quotation));
  if (bubble.kind === "markdown") {
    made.classList.add("markdown");
    made.insertAdjacentHTML("beforeend", markdown.parse(bubble.text));
  } else if (bubble.kind === "picture") {
    made.append(element("span", { className: "picture", role: "img", "aria-label": text("picture") }));
  } else if (bubble.kind === "file") {
    made.append(element("span", { className: "file", "aria-hidden": "true" }, "PDF"), text("file"));
  } else {
    if (bubble.kind === "voice") made.append(element("span", { className: "voice" }, `${text("kind_voice")} 4″`));
    const asked = bubble.from && place === "group" ? "@ChatGPT " : "";
    made.append(element("span", { className: "plain" }, asked + bubble.text));
    if (bubble.kind === "rich_text") {
      made.append(element("span", { className: "picture small", role: "img", "aria-label": text("picture") }));
    }
    if (asked) highlightAt(made, [{ id: "ChatGPT", nick: "ChatGPT" }]);
  }
  highlightAt(made, bubble.at || []);
  return made;
}

function bubbleElement(bubble) {
  const name = element("span", { className: "name" }, bubble.from || "ChatGPT");
  if (!bubble.from) name.append(" ", element("i", { className: "tag" }, text("bot")));
  name.append(" ", element("time", {}, bubble.time));
  const quote = element("button", { type: "button", className: "quiet" }, text("quote"));
  quote.onclick = () => setQuotation(bubble.text);
  const show = element("button", { type: "button", className: "quiet", title: text("show_way") }, text("way"));
  show.onclick = () => {
    selected = bubble.message;
    openTab("way");
    setView("inside");
    drawWay();
  };
  const tools = element("span", { className: "tools" }, show);
  if (!WORDLESS.includes(bubble.kind)) tools.prepend(quote);
  const side = bubble.from && bubble.from === person ? "mine" : "theirs";
  const made = element("article", { className: `bubble ${side}`, id: `bubble-${bubble.id}` }, avatar(bubble.from));
  made.append(element("div", { className: "content" }, element("div", { className: "head" }, name, tools), words(bubble)));
  return made;
}

function drawBubbles() {
  const list = byId("bubbles");
  const chat = `${place} ${place === "group" ? "" : person} ${language}`;
  const viewer = `${chat} ${person}`;
  const shown = state.bubbles.filter(here);
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  const stale = [...list.querySelectorAll(".bubble")].some((each) => !shown.some((bubble) => `bubble-${bubble.id}` === each.id));
  if (drawnChat !== viewer || stale) {
    list.setAttribute("aria-live", "off"); // another chat is not news
    list.replaceChildren();
    drawnChat = viewer;
  }
  byId("typing")?.remove();
  list.querySelector(".welcome")?.remove();
  if (!shown.length) list.append(element("p", { className: "welcome" }, text("welcome")));
  for (const bubble of shown) {
    if (!byId(`bubble-${bubble.id}`)) list.append(bubbleElement(bubble));
  }
  const waiting = state.messages.filter((message) => here(message) && message.typing).length;
  if (waiting) {
    const dots = element("span", { className: "dots", "aria-hidden": "true" }, element("b"), element("b"), element("b"));
    const name = element("span", { className: "name" }, `ChatGPT ${text("typing")}`);
    const content = element("div", { className: "content" }, name, element("div", { className: "words" }, dots));
    list.append(element("div", { className: "bubble-like theirs", id: "typing" }, avatar(""), content));
  }
  list.setAttribute("aria-live", "polite");
  if (atEnd || stale) list.scrollTop = list.scrollHeight;
}

function setQuotation(words) {
  quotation = words;
  byId("quoted").hidden = !words;
  byId("quoted-text").textContent = words ? text("quotation") + words.slice(0, 80) : "";
  if (words) setKind("text");
  byId("text").focus();
}

function setKind(chosen) {
  kind = chosen;
  drawKinds();
}

function drawKinds() {
  if (place === "group" && NOT_IN_GROUP.includes(kind)) kind = "text";
  const buttons = KINDS.map((each) => {
    const barred = place === "group" && NOT_IN_GROUP.includes(each);
    const button = element(
      "button",
      { type: "button", role: "radio", "aria-checked": String(each === kind), tabIndex: each === kind ? 0 : -1, disabled: barred },
      text(`kind_${each}`),
    );
    if (barred) button.title = text("not_in_group");
    button.onclick = () => setKind(each);
    return button;
  });
  const focused = byId("kinds").contains(document.activeElement);
  byId("kinds").replaceChildren(...buttons);
  if (focused) byId("kinds").querySelector("[aria-checked=true]").focus();
  byId("text").disabled = WORDLESS.includes(kind);
  byId("text").placeholder = text(kind === "voice" ? "placeholder_voice" : "placeholder");
}

function send(times = 1) {
  return attempt(async () => {
    const field = byId("text");
    const message = { person, place, kind: times === 1 ? kind : "text", text: WORDLESS.includes(kind) ? "" : field.value, quotation, times };
    await ask("/api/send", message);
    if (!WORDLESS.includes(kind)) field.value = "";
    selected = 0;
    setQuotation("");
    byId("bubbles").scrollTop = byId("bubbles").scrollHeight;
    await refresh();
  });
}

// -- behind the scenes -------------------------------------------------------------------------------------

/** The message whose way is shown: the chosen one, else the last one. */
function shownMessage() {
  return state.messages.find((message) => message.number === selected) || state.messages.at(-1);
}

function drawWay() {
  const message = shownMessage();
  const list = byId("steps");
  byId("way-hint").hidden = Boolean(message);
  byId("way-title").hidden = !message;
  if (!message) {
    list.replaceChildren();
    return;
  }
  const ends = {};
  for (const step of message.steps) ends[step.attempt] = Math.max(ends[step.attempt] || 1, step.start + (step.ms || 0));
  const said = message.kind === "picture" || message.kind === "file" ? text(`kind_${message.kind}`) : message.text;
  byId("way-title").replaceChildren(`${text("way_of", message.number)}：${said.slice(0, 30)} `);
  const total = Object.values(ends).reduce((sum, end) => sum + end, 0);
  if (message.steps.length) byId("way-title").append(element("small", {}, text("total", duration(total))));
  const owner = `${message.number} ${language}`;
  if (list.dataset.message !== owner) {
    list.dataset.message = owner;
    list.replaceChildren();
  }
  const rows = [...list.querySelectorAll("details")];
  for (const row of rows.splice(message.steps.length)) row.parentElement.remove(); // a wait that turned out to be none
  message.steps.forEach((step, index) => {
    const row = rows[index] || addStep(list, message.number, step, index);
    const facts = [];
    if (step.cold) facts.push(element("i", { className: "badge cold" }, text("cold")));
    if (step.outcome) facts.push(element("i", { className: `badge ${step.problem ? "bad" : ""}` }, step.outcome));
    facts.push(element("span", { className: "ms" }, step.ms === null ? text("under_way") : duration(step.ms)));
    row.querySelector(".facts").replaceChildren(...facts);
    const bar = row.querySelector(".bar");
    bar.style.marginLeft = `${(100 * step.start) / ends[step.attempt]}%`;
    bar.style.width = `${Math.max((100 * (step.ms ?? ends[step.attempt] - step.start)) / ends[step.attempt], 0.8)}%`;
    row.classList.toggle("running", step.ms === null);
  });
}

function addStep(list, number, step, index) {
  const repeated = index > 0 && step.kind === "push";
  if (repeated) list.append(element("li", { className: "again" }, text("attempt", step.attempt)));
  const title = element("span", { className: "title" }, text(`step_${step.kind}`));
  const what = element("span", { className: "what" }, text(`what_${step.kind}`));
  const summary = element("summary", {}, title, what, element("span", { className: "facts" }), element("span", { className: "track" }, element("span", { className: "bar" })));
  const row = element("details", { className: `step ${step.kind}` }, summary, element("div", { className: "detail" }));
  row.addEventListener("toggle", () => row.open && attempt(() => openStep(row, number, step.kind, index)));
  list.append(element("li", {}, row));
  return row;
}

async function openStep(row, number, stepKind, index) {
  const found = await ask(`/api/step/${number}/${index}`);
  const parts = [];
  for (const [name, label] of [["request", "request"], ["answer", "answer"], ["result", "result"], ["log", "run_log"]]) {
    if (found[name]) parts.push(element("h4", {}, text(label)), element("pre", { tabIndex: 0 }, found[name]));
  }
  if (!parts.length) parts.push(element("p", {}, text(stepKind === "queue" ? "wait_only" : "nothing_on_record")));
  row.querySelector(".detail").replaceChildren(...parts);
}

/** The object that changed last is shown, until somebody chooses another one. */
async function drawJournal() {
  const choice = byId("objects");
  const sizes = JSON.parse(choice.dataset.sizes || "{}");
  const changed = state.objects.filter((each) => each.size !== sizes[each.key]).map((each) => each.key);
  const keys = state.objects.map((each) => each.key);
  const shown = changed.length ? changed.at(-1) : choice.value;
  choice.dataset.sizes = JSON.stringify(Object.fromEntries(state.objects.map((each) => [each.key, each.size])));
  const short = (key) => decodeURIComponent(key).replace(/(\/.{8}).*(?=\/)/, "$1…");
  choice.replaceChildren(...state.objects.map((each) => element("option", { value: each.key, title: each.key }, `${short(each.key)} (${each.size} B)`)));
  choice.disabled = !keys.length;
  if (!keys.length) choice.append(element("option", { value: "" }, text("no_object")));
  choice.value = keys.includes(shown) ? shown : keys[0] || "";
  await drawObject();
}

async function drawObject() {
  const key = byId("objects").value;
  const found = key ? await ask(`/api/object?key=${encodeURIComponent(key)}`) : { text: "" };
  const lines = found.text.split("\n").filter(Boolean);
  byId("lines").replaceChildren(...lines.map((line) => element("li", {}, element("code", {}, line))));
}

function drawLog() {
  const lines = state.log.map(({ function: name, line }) =>
    element("li", { className: /\[(ERROR|CRITICAL)\]/.test(line) ? "bad" : "" }, element("b", {}, name), " ", element("code", {}, line)),
  );
  if (!lines.length) lines.push(element("li", {}, text("no_log")));
  byId("log-lines").replaceChildren(...lines);
}

function drawSwitches() {
  const names = ["chatgpt_slow", "chatgpt_balance", "chatgpt_down", "oss_down", "webhook_refuses", "fc_repeats"];
  const box = byId("switches");
  if (box.dataset.language !== String(language)) {
    box.dataset.language = language;
    box.replaceChildren(
      ...names.map((name) => {
        const field = element("input", { type: "checkbox", role: "switch", id: `switch-${name}` });
        const label = element("label", { className: "switch" }, field, text(`switch_${name}`));
        if (state.real_model && name.startsWith("chatgpt")) {
          field.disabled = true;
          label.append(element("small", {}, text("only_stand_in")));
        }
        field.onchange = () =>
          attempt(async () => {
            await ask("/api/switch", { names: names.filter((each) => byId(`switch-${each}`).checked) });
            await refresh();
          });
        return label;
      }),
    );
  }
  for (const name of names) byId(`switch-${name}`).checked = state.switches.includes(name);
  byId("tab-faults").classList.toggle("on", state.switches.length > 0);
}

async function drawSettings() {
  const settings = await ask("/api/settings");
  const groups = new Map();
  for (const setting of settings) {
    if (!groups.has(setting.function)) groups.set(setting.function, element("fieldset", {}, element("legend", {}, setting.function)));
    const field = element("input", { type: "text", className: setting.secret ? "secret" : "", value: setting.value, autocomplete: "off" });
    field.dataset.function = setting.function;
    field.dataset.name = setting.name;
    field.dataset.before = setting.value;
    if (setting.secret) field.placeholder = setting.set ? text("secret_set") : "";
    const meaning = setting.meaning[language ? "en" : "zh"] || setting.meaning.zh;
    const notes = [meaning];
    if (setting.default) notes.push(text("default_is", setting.default));
    if (setting.stand_in) notes.push(text("leads_to_stand_in"));
    const label = element("label", { className: "setting" }, element("code", {}, setting.name), field, element("small", {}, notes.join(language ? "; " : "；")));
    groups.get(setting.function).append(label);
  }
  byId("settings-rows").replaceChildren(...groups.values());
}

function report(words) {
  byId("report").textContent = words;
  byId("report").hidden = !words;
  byId("report").scrollIntoView({ block: "nearest" });
}

async function applySettings() {
  const changes = {};
  for (const field of all("#settings-rows input")) {
    if (field.value === field.dataset.before) continue;
    (changes[field.dataset.function] ??= {})[field.dataset.name] = field.value;
  }
  await ask("/api/set", changes);
  await drawSettings();
  report(text("applied"));
}

async function selfCheck() {
  report(text("checking"));
  const found = await ask("/api/check", {});
  report(Object.entries(found).map(([name, words]) => `== ${name}\n${words}`).join("\n\n"));
}

// -- the whole page ----------------------------------------------------------------------------------------

function openTab(name) {
  for (const tab of all("#tabs [role=tab]")) {
    const open = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(open));
    tab.tabIndex = open ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).hidden = !open;
  }
}

/** On a narrow screen one of the two halves is shown. */
function setView(view) {
  document.body.dataset.view = view;
  for (const button of all(".views button")) button.setAttribute("aria-pressed", String(button.dataset.view === view));
}

function drawChatChoice() {
  for (const link of all(".chat-link")) {
    if (link.dataset.place === place) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  byId("chat-title").textContent = place === "group" ? `${state.group} (${state.people.length + 1})` : "ChatGPT";
  byId("chat-tag").hidden = place === "group";
}

function drawPeople() {
  const buttons = state.people.map((nick) => {
    const outsider = nick === "访客" ? element("small", {}, text("outsider")) : "";
    const field = element("input", { type: "radio", name: "person", value: nick, checked: nick === person });
    field.onchange = () => {
      person = nick;
      draw();
    };
    return element("label", {}, field, avatar(nick), nick, outsider);
  });
  byId("people").replaceChildren(...buttons);
}

function setLanguage(chosen) {
  language = chosen;
  document.documentElement.lang = ["zh-CN", "en"][language];
  document.title = text("title");
  for (const each of all("[data-text]")) each.textContent = text(each.dataset.text);
  for (const each of all("[data-label]")) each.setAttribute("aria-label", text(each.dataset.label));
  for (const each of all("[data-title]")) each.title = text(each.dataset.title);
  byId("language").textContent = ["English", "中文"][language];
  byId("language").lang = ["en", "zh-CN"][language];
  if (!state) return;
  drawPeople();
  drawKinds();
  draw();
  attempt(drawSettings);
}

function draw() {
  byId("group-name").textContent = state.group;
  byId("model").textContent = text(state.real_model ? "real_model" : "stand_in_model");
  byId("again").disabled = !state.bubbles.some((bubble) => here(bubble) && bubble.from);
  drawChatChoice();
  drawBubbles();
  drawWay();
  drawLog();
  drawSwitches();
  return drawJournal();
}

async function refresh() {
  const found = await ask(`/api/state?seen=${version}`);
  if (!found) return;
  const first = state === null;
  ({ version, state } = found);
  if (first) {
    person = state.people[0];
    setLanguage(language);
  } else {
    await draw();
  }
}

async function poll() {
  for (let connected = true; ; ) {
    try {
      await refresh();
      if (!connected) byId("problem").hidden = true;
      connected = true;
    } catch {
      tell(text("gone"));
      connected = false;
    }
    await new Promise((done) => setTimeout(done, document.hidden ? 4 * POLL_MS : POLL_MS));
  }
}

/** Arrow keys move among the buttons of a group, as in every tab list and radio group. */
function arrows(group) {
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const buttons = [...group.querySelectorAll("button:not(:disabled)")];
    const next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
    next.focus();
    next.click();
  });
}

byId("composer").onsubmit = (event) => {
  event.preventDefault();
  send();
};
byId("text").onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return; // Enter also ends the choice of a Chinese word
  event.preventDefault();
  send();
};
byId("again").onclick = () =>
  attempt(async () => {
    const last = state.bubbles.filter((bubble) => here(bubble) && bubble.from).at(-1);
    selected = last.message;
    await ask("/api/again", { number: last.message });
    await refresh();
  });
byId("ten").onclick = () => send(10);
byId("unquote").onclick = () => setQuotation("");
byId("language").onclick = () => setLanguage(1 - language);
byId("start-over").onclick = () =>
  attempt(async () => {
    await ask("/api/start_over", {});
    selected = 0;
    byId("steps").dataset.message = "";
    await refresh();
  });
byId("objects").onchange = () => attempt(drawObject);
byId("check").onclick = () => attempt(selfCheck);
byId("settings-form").onsubmit = (event) => {
  event.preventDefault();
  attempt(applySettings);
};
for (const link of all(".chat-link")) {
  link.onclick = () => {
    place = link.dataset.place;
    drawKinds();
    draw();
    setView("chat");
  };
}
for (const tab of all("#tabs [role=tab]")) tab.onclick = () => openTab(tab.id.replace("tab-", ""));
for (const button of all(".views button")) button.onclick = () => setView(button.dataset.view);
arrows(byId("tabs"));
arrows(byId("kinds"));

openTab("way");
setView("chat");
setLanguage(navigator.language.startsWith("zh") ? 0 : 1);
poll();
