"use strict";
// The page: draws what /api/state says, and sends what people do. No framework, no build step.

const POLL_MS = 250;
const KINDS = ["text", "voice", "rich_text", "picture", "text_file", "file", "video", "sticker", "card", "record"];
const WRITTEN = ["text", "voice", "rich_text"];
const IN_GROUP = ["text", "rich_text", "picture"];
const WITH_PICTURE = ["rich_text", "picture"];
const FILES = ["text_file", "file"];
const MAX_FILE_BYTES = 6 * 1024 * 1024;
const WORKING_AFTER_MS = 700; // a bot that answers at once is not said to be at work
const TOLD_MS = 6000;
const COLOURS = ["#b45309", "#047857", "#7c3aed", "#be185d"]; // white letters on them can be read
const MINUTES_WITHOUT_TIME = 5; // DingTalk shows the time again after such a pause

const narrow = matchMedia("(max-width: 1023px)"); // as in the style sheet

const byId = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];

let state = null; // what the server said last
let version = "";
let place = "private";
let person = "";
let kind = "text";
let quotation = { words: "", number: 0 }; // of the message that it is, 0 for an answer
let chosen = null; // the picture or file that goes with the next message: name, data URL, whether a picture; null: the example
let selected = 0; // number of the message whose way is shown; 0: the last one
let drawnChat = ""; // which chat the bubbles on the page belong to
let settingsTurn = 0; // how often the settings were asked for
let playing = false; // an example is being said

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

/** The name of a person in the page's language. */
const nameOf = (nick) => PEOPLE[nick]?.[language] ?? nick;

function avatar(nick) {
  if (!nick) return element("img", { src: "bot.svg", alt: "", className: "avatar" });
  const made = element("span", { className: "avatar", "aria-hidden": "true" }, language ? nameOf(nick).slice(0, 2) : nick.slice(-2));
  made.style.background = COLOURS[Math.max(state.people.indexOf(nick), 0) % COLOURS.length];
  return made;
}

/** A text that can be broken after each underscore: the names of the functions are long. */
const breakable = (words) => words.split(/(?<=_)/).flatMap((part, index) => (index ? [element("wbr"), part] : [part]));

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
  byId("problem").hidden = byId("done").hidden = true;
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

/** What was done; it goes away by itself. */
function tellDone(words) {
  byId("done").textContent = words;
  byId("done").hidden = false;
  clearTimeout(tellDone.timer);
  tellDone.timer = setTimeout(() => { byId("done").hidden = true; }, TOLD_MS);
}

/** Redraw a list that grows at its end: who looks at the end goes on seeing the newest. */
function follow(panel, redraw) {
  const atEnd = panel.scrollHeight - panel.scrollTop - panel.clientHeight < 60;
  redraw();
  if (atEnd) panel.scrollTop = panel.scrollHeight;
}

function duration(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

// -- the chat ----------------------------------------------------------------------------------------------

const here = (item) => item.place === place && (place === "group" || item.owner === person);

const SAYS = "dtmd://dingtalkclient/sendMessage?content="; // a link that sends a message as whoever taps it

/** Markdown as DingTalk shows it: CommonMark without raw HTML. A heading of an answer is none of the page. */
const markdown = new marked.Marked({ gfm: false, breaks: false });
markdown.use({
  renderer: {
    html: ({ text: source }) => escaped(source),
    image: ({ href, text: name }) =>
      href.startsWith("@") // was uploaded: its media_id
        ? `<img class="picture" src="api/media?id=${encodeURIComponent(href)}" alt="${escaped(name)}">`
        : `<span class="image">[${escaped(name)}]</span>`,
    heading({ tokens, depth }) {
      return `<p class="heading h${depth}">${this.parser.parseInline(tokens)}</p>`;
    },
    link({ href, tokens }) {
      const words = this.parser.parseInline(tokens);
      if (href.startsWith(SAYS)) return `<a href="${escaped(href)}" data-says="${escaped(href.slice(SAYS.length))}">${words}</a>`;
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
      rest.before(element("span", { className: "at" }, `@${nameOf(at.nick)}`));
      break;
    }
  }
}

function picture(size = "", src = "example.png") {
  return element("img", { className: `picture ${size}`, src, alt: text("picture") });
}

/** The picture of a message; of one that no browser can show, only the word. */
function pictureOf(bubble, size = "") {
  return bubble.picture ? picture(size, `api/picture?number=${bubble.message}`) : element("span", {}, text("picture"));
}

function fileIcon(name) {
  return element("span", { className: "file", "aria-hidden": "true" }, name.split(".").at(-1).slice(0, 4).toUpperCase());
}

/** A card or a forwarded conversation: its title and its lines. */
function card(shown) {
  const [title, ...lines] = shown.split("\n");
  return element("div", { className: "card" }, element("b", {}, title), ...lines.map((line) => element("span", {}, line)));
}

/** A block of code, with a button that copies it. */
function withCopy(code) {
  code.tabIndex = 0; // a long line can be scrolled to
  const box = element("div", { className: "code" });
  const copy = element("button", { type: "button", className: "copy", tabIndex: -1, title: text("copy"), "aria-label": text("copy") });
  copy.onclick = () =>
    attempt(async () => {
      await navigator.clipboard.writeText(code.textContent);
      tellDone(text("copied"));
    });
  code.replaceWith(box);
  box.append(code, copy);
}

function words(bubble) {
  const made = element("div", { className: "words" });
  if (bubble.quotation) made.append(element("blockquote", { className: "quotation" }, bubble.quotation));
  if (bubble.kind === "markdown") {
    made.classList.add("markdown");
    made.insertAdjacentHTML("beforeend", markdown.parse(bubble.text));
    for (const code of made.querySelectorAll("pre")) withCopy(code);
  } else if (bubble.kind === "picture") {
    made.classList.add("bare");
    made.append(pictureOf(bubble));
  } else if (FILES.includes(bubble.kind)) {
    made.append(fileIcon(bubble.text), bubble.text);
  } else if (["card", "record"].includes(bubble.kind)) {
    made.append(card(bubble.text));
  } else if (["video", "sticker"].includes(bubble.kind)) {
    made.append(element("span", { className: bubble.kind }, bubble.text));
  } else {
    if (bubble.kind === "voice") made.append(element("span", { className: "voice" }, `${bubble.seconds}″`));
    const asked = bubble.from && place === "group" ? "@ChatGPT " : "";
    made.append(element("span", { className: "plain" }, asked + bubble.text));
    if (bubble.kind === "rich_text") made.append(pictureOf(bubble, "small"));
    if (asked) highlightAt(made, [{ id: "ChatGPT", nick: "ChatGPT" }]);
  }
  highlightAt(made, bubble.at || []);
  return made;
}

/** What one can do with a bubble; out of the order of Tab, so that the field below is near: arrow keys lead here. */
function toolsOf(bubble) {
  const show = element("button", { type: "button", tabIndex: -1, title: text("show_way") }, text("way"));
  show.onclick = () => {
    selected = bubble.message;
    openTab("way");
    setView("inside");
    drawWay();
  };
  const quote = element("button", { type: "button", className: "quote", tabIndex: -1 }, text("quote"));
  quote.onclick = () => setQuotation(bubble.text || text("picture"), bubble.from ? bubble.message : 0);
  return element("span", { className: "tools" }, quote, show);
}

function bubbleElement(bubble) {
  if (bubble.kind === "note") {
    const [id, className] = [`bubble-${bubble.id}`, "shown note"];
    return element("p", { id, className }, element("span", {}, text(`again_${bubble.text}`, bubble.message)));
  }
  const side = bubble.from && bubble.from === person ? "mine" : "theirs";
  const content = element("div", { className: "content" });
  if (side === "theirs") {
    const name = element("span", { className: "name" }, nameOf(bubble.from) || "ChatGPT");
    if (!bubble.from) name.append(" ", element("i", { className: "tag" }, text("bot")));
    content.append(element("div", { className: "head" }, name, toolsOf(bubble)), words(bubble));
  } else {
    content.append(words(bubble), toolsOf(bubble));
  }
  const label = `${nameOf(bubble.from) || "ChatGPT"} ${bubble.time}`;
  const id = `bubble-${bubble.id}`;
  return element("article", { className: `shown bubble ${side}`, id, tabIndex: -1, "aria-label": label }, avatar(bubble.from), content);
}

/** The time stands above a bubble if the one before is some minutes older, as in DingTalk. */
function timeBefore(bubble, before) {
  const minutes = ({ time }) => 60 * Number(time.slice(0, 2)) + Number(time.slice(3));
  if (before && Math.abs(minutes(bubble) - minutes(before)) < MINUTES_WITHOUT_TIME) return [];
  return [element("p", { className: "time" }, element("time", {}, bubble.time))];
}

function drawBubbles() {
  const list = byId("bubbles");
  const viewer = `${place} ${person} ${language}`;
  const shown = state.bubbles.filter(here);
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  const ids = new Set(shown.map((bubble) => `bubble-${bubble.id}`));
  const changed = drawnChat !== viewer;
  const stale = [...list.querySelectorAll(".shown")].some((each) => !ids.has(each.id));
  if (changed || stale) {
    list.setAttribute("aria-live", "off"); // another chat is not news
    list.replaceChildren();
    drawnChat = viewer;
  }
  if (shown.length) list.querySelector(".welcome")?.remove();
  else if (!list.querySelector(".welcome")) list.append(welcome());
  const added = shown.filter((bubble) => !byId(`bubble-${bubble.id}`));
  for (const bubble of added) list.append(...timeBefore(bubble, shown[shown.indexOf(bubble) - 1]), bubbleElement(bubble));
  for (const mark of list.querySelectorAll(".thinking")) mark.remove();
  for (const message of state.messages.filter((each) => here(each) && each.thinking)) {
    const asked = byId(`bubble-${message.number}`);
    asked?.querySelector(".words").after(element("span", { className: "thinking" }, text("thinking")));
  }
  list.setAttribute("aria-live", "polite");
  if (atEnd || changed || stale) list.scrollTop = list.scrollHeight;
  else if (added.length) byId("newer").hidden = false;
}

/** While the bot works, so that nobody thinks that nothing happens: a line, outside of the chat, with the time. */
function drawWorking() {
  const answers = new Set(state.bubbles.filter((bubble) => !bubble.from && bubble.kind !== "note").map((bubble) => bubble.message));
  const waiting = state.messages.filter((message) => here(message) && !message.over && !answers.has(message.number));
  const since = Math.min(...waiting.map((message) => message.at));
  const line = byId("working");
  line.hidden = !(waiting.length && Date.now() - since > WORKING_AFTER_MS);
  if (line.hidden) return;
  const words = waiting.length > 1 ? text("working_on", waiting.length) : text("working");
  if (line.dataset.words !== words) line.replaceChildren(words, element("span", { "aria-hidden": "true" })); // read aloud once
  line.dataset.words = words;
  line.querySelector("span").textContent = ` · ${Math.round((Date.now() - since) / 1000)} s${text("not_in_dingtalk")}`;
}

/** Arrow keys: up and down among the bubbles, to the sides among what one can do with one. */
function moveInBubbles(event) {
  const bubbles = all("#bubbles .bubble");
  const current = event.target.closest(".bubble");
  let next = null;
  if (event.key === "ArrowUp" || event.key === "ArrowDown") {
    const step = event.key === "ArrowUp" ? -1 : 1;
    const index = current ? bubbles.indexOf(current) + step : step < 0 ? bubbles.length - 1 : 0;
    next = bubbles[Math.min(Math.max(index, 0), bubbles.length - 1)];
  } else if ((event.key === "ArrowLeft" || event.key === "ArrowRight") && current) {
    const stops = [current, ...current.querySelectorAll(".tools button, .copy")];
    const step = event.key === "ArrowLeft" ? -1 : 1;
    next = stops[(stops.indexOf(document.activeElement) + step + stops.length) % stops.length];
  }
  if (!next) return;
  event.preventDefault();
  next.focus();
}

// -- examples ----------------------------------------------------------------------------------------------

function exampleButtons() {
  return EXAMPLES[place].map((example) => {
    const [name, what] = example.name[language].split("|");
    const button = element("button", { type: "button", className: "example" }, element("b", {}, name), element("small", {}, what));
    button.onclick = () => play(example);
    return button;
  });
}

function welcome() {
  const cards = element("div", { className: "cards" }, ...exampleButtons());
  return element("div", { className: "welcome" }, element("p", {}, text(`welcome_${place}`)), cards);
}

function showExamples(open) {
  byId("show-examples").setAttribute("aria-expanded", String(open));
  byId("examples").hidden = !open;
  byId("examples").replaceChildren(...exampleButtons());
}

/** Say what the example says, each line after the answer to the one before. */
function play(example) {
  if (playing) return undefined;
  const [where, who] = [place, person];
  showExamples(false);
  byId("text").focus({ preventScroll: true });
  playing = true;
  return attempt(async () => {
    try {
      for (const line of example.says) {
        const [said, quoting] = [line.text, line.quotation].map((pair) => (pair ? pair[language] : ""));
        const message = { place: where, person: line.person || who, kind: line.kind || "text", text: said, quotation: quoting };
        const numbers = await ask("/api/send", { ...message, times: line.times || 1, language: ["zh", "en"][language] });
        selected = 0;
        await refresh();
        byId("bubbles").scrollTop = byId("bubbles").scrollHeight;
        if (line !== example.says.at(-1)) await answered(numbers.at(-1));
      }
    } finally {
      playing = false;
    }
  });
}

/** Wait until the message has its answer, or will have none. */
async function answered(number) {
  const has = () => state.bubbles.some((bubble) => bubble.message === number && !bubble.from);
  const over = () => state.messages.some((message) => message.number === number && message.over);
  while (!has() && !over()) {
    await new Promise((done) => setTimeout(done, POLL_MS));
    await refresh();
  }
}

// -- writing -----------------------------------------------------------------------------------------------

function setQuotation(words, number = 0) {
  quotation = { words, number };
  drawQuotation();
  if (words) setKind("text");
  if (!byId("text").hidden) byId("text").focus();
}

function drawQuotation() {
  byId("quoted").hidden = !quotation.words;
  byId("quoted-text").textContent = text("quotation") + quotation.words.slice(0, 80);
}

function setKind(next) {
  kind = next;
  drawKinds();
}

/** Whether the chosen picture or file goes with a message of the kind that is chosen. */
const own = () => chosen && (chosen.picture ? WITH_PICTURE : FILES).includes(kind);

function drawKinds() {
  if (place === "group" && !IN_GROUP.includes(kind)) kind = "text";
  const optionsOf = (kinds) => kinds.map((each) => element("option", { value: each }, text(`kind_${each}`)));
  const options = optionsOf(place === "group" ? IN_GROUP : KINDS);
  if (place === "group") {
    const barred = optionsOf(KINDS.filter((each) => !IN_GROUP.includes(each)));
    options.push(element("optgroup", { label: text("not_in_group"), disabled: true }, ...barred));
  }
  byId("kind").replaceChildren(...options);
  byId("kind").value = kind;
  const wordless = !WRITTEN.includes(kind);
  byId("text").hidden = wordless;
  byId("wordless").hidden = !wordless;
  const next = text(!wordless && narrow.matches ? `short_${kind}` : own() ? `next_own_${kind}` : `next_${kind}`);
  if (wordless) byId("wordless").replaceChildren(sampleOf(kind), next);
  else byId("text").placeholder = next + (place === "group" ? text(narrow.matches ? "short_at_is_added" : "at_is_added") : "");
  byId("attach").hidden = !WITH_PICTURE.includes(kind) && !FILES.includes(kind);
  byId("file").accept = WITH_PICTURE.includes(kind) ? "image/png,image/jpeg,image/webp,image/gif" : "";
  byId("choose").textContent = text(WITH_PICTURE.includes(kind) ? "choose" : "choose_file");
  byId("chosen").textContent = own() ? chosen.name : "";
  byId("unchoose").hidden = !own();
}

/** A small picture of what Send will send. */
function sampleOf(each) {
  if (each === "picture") return picture("", own() ? chosen.url : "example.png");
  if (FILES.includes(each)) return fileIcon(own() ? chosen.name : { text_file: ".txt", file: ".pdf" }[each]);
  return element("span", { className: "sample", "aria-hidden": "true" }, { video: "▶", sticker: "☺", card: "▤", record: "❝" }[each]);
}

/** A picture or a file, chosen or dropped: it goes with the next message. */
function choose(file) {
  byId("file").value = ""; // the same file can be chosen again
  if (!file) return undefined;
  return attempt(async () => {
    if (file.size > MAX_FILE_BYTES) throw new Error(text("file_too_large"));
    const reader = new FileReader();
    const url = await new Promise((done, failed) => {
      reader.onload = () => done(reader.result);
      reader.onerror = () => failed(reader.error);
      reader.readAsDataURL(file);
    });
    const isPicture = file.type.startsWith("image/");
    if (!isPicture && place === "group") throw new Error(text("no_file_in_group"));
    chosen = { name: file.name, url, picture: isPicture };
    if (quotation.words) setQuotation(""); // DingTalk quotes in texts only
    setKind(own() ? kind : isPicture ? "picture" : "text_file");
  });
}

function unchoose() {
  chosen = null;
  drawKinds();
}

function send(times = 1) {
  return attempt(async () => {
    const field = byId("text");
    const written = times > 1 || WRITTEN.includes(kind);
    if (times === 1 && written && !field.value.trim()) return field.focus(); // as in DingTalk, nothing happens
    const message = { person, place, kind: times === 1 ? kind : "text", text: written ? field.value : "", times };
    if (kind === "text") Object.assign(message, { quotation: quotation.words, quoted: quotation.number });
    if (times === 1 && own()) {
      message.attachment = chosen.url.slice(chosen.url.indexOf(",") + 1);
      if (!chosen.picture) message.name = chosen.name;
      chosen = null;
    }
    await ask("/api/send", { ...message, language: ["zh", "en"][language] });
    if (written) field.value = "";
    else kind = "text"; // one picture, one file; then people write again
    selected = 0;
    setQuotation("");
    drawKinds();
    await refresh();
    byId("bubbles").scrollTop = byId("bubbles").scrollHeight;
  });
}

// -- behind the scenes -------------------------------------------------------------------------------------

/** The message whose way is shown: the chosen one, else the last one. */
function shownMessage() {
  return state.messages.find((message) => message.number === selected) || state.messages.at(-1);
}

/** Before anything was said: what will be seen here, as a picture. */
const PREVIEW = [["push", 0, 12], ["invoke", 4, 6], ["queue", 10, 4], ["oss_journal", 14, 5], ["oss_read", 19, 5], ["chatgpt", 24, 46], ["oss_words", 70, 6], ["oss_turn", 76, 7], ["webhook", 83, 9], ["oss_mark", 92, 8]];

function preview() {
  return PREVIEW.map(([step, start, width]) => {
    const bar = element("span", { className: "bar" });
    bar.style.marginLeft = `${start}%`;
    bar.style.width = `${width}%`;
    const [title, what] = [element("span", { className: "title" }, text(`step_${step}`)), element("span", { className: "what" }, text(`what_${step}`))];
    return element("li", { className: `step ${step}` }, element("div", { className: "row" }, title, what, element("span", { className: "track" }, bar)));
  });
}

function drawWay() {
  const message = shownMessage();
  const list = byId("steps");
  byId("way-hint").textContent = text(message ? "step_hint" : "way_hint");
  byId("way-title").hidden = byId("preview").hidden = Boolean(message);
  byId("way-title").hidden = !message;
  if (!message) {
    byId("preview").replaceChildren(...preview());
    list.replaceChildren();
    list.dataset.message = "";
    return;
  }
  const ends = {};
  for (const step of message.steps) ends[step.attempt] = Math.max(ends[step.attempt] || 1, step.start + (step.ms || 0));
  const said = WRITTEN.includes(message.kind) ? message.text : text(`kind_${message.kind}`);
  byId("way-title").replaceChildren(text("way_of", message.number), said.length > 60 ? `${said.slice(0, 60)}…` : said);
  const total = Object.values(ends).reduce((sum, end) => sum + end, 0);
  const when = message.over ? text("total", duration(total)) : text("under_way");
  byId("way-title").append(" ", element("small", {}, when));
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
    if (step.slow) facts.push(element("i", { className: "badge bad", title: text("slow_title") }, text("slow")));
    if (step.outcome) facts.push(element("i", { className: `badge ${step.problem ? "bad" : ""}` }, step.outcome));
    facts.push(element("span", { className: "ms" }, step.ms === null ? text("under_way") : duration(step.ms)));
    row.querySelector(".facts").replaceChildren(...facts);
    row.querySelector(".cause").textContent = step.cause;
    row.querySelector(".cause").hidden = !step.cause;
    const bar = row.querySelector(".bar");
    bar.style.marginLeft = `${(100 * step.start) / ends[step.attempt]}%`;
    bar.style.width = `${Math.max((100 * (step.ms ?? ends[step.attempt] - step.start)) / ends[step.attempt], 0.8)}%`;
    row.classList.toggle("running", step.ms === null);
  });
}

function addStep(list, number, step, index) {
  const repeated = index > 0 && step.kind === "push";
  if (repeated) list.append(element("li", { className: "again" }, text("attempt", step.attempt)));
  const title = element("span", { className: "title" }, ...breakable(text(`step_${step.kind}`)));
  const what = element("span", { className: "what" }, text(`what_${step.kind}`));
  const track = element("span", { className: "track" }, element("span", { className: "bar" }));
  const parts = [title, what, element("span", { className: "facts" }), element("span", { className: "cause", hidden: true }), track];
  const row = element("details", { className: `step ${step.kind}` }, element("summary", { className: "row" }, ...parts), element("div", { className: "detail" }));
  row.addEventListener("toggle", () => row.open && attempt(() => openStep(row, number, step.kind, index)));
  list.append(element("li", {}, row));
  return row;
}

async function openStep(row, number, stepKind, index) {
  const found = await ask(`/api/step/${number}/${index}`);
  const parts = [];
  for (const [name, label] of [["request", "request"], ["answer", "answer"], ["cause", "cause"], ["result", "result"], ["log", "run_log"]]) {
    if (found[name]) parts.push(element("h3", {}, text(label)), element("pre", { tabIndex: 0 }, found[name]));
  }
  if (!parts.length) parts.push(element("p", {}, text(stepKind === "queue" ? "wait_only" : "nothing_on_record")));
  row.querySelector(".detail").replaceChildren(...parts);
}

/** The words that changed last are shown, until somebody chooses another object; else what is shown, while it is there. */
async function drawJournal() {
  const choice = byId("objects");
  const sizes = JSON.parse(choice.dataset.sizes || "{}");
  const changed = state.objects.filter((each) => each.size !== sizes[each.key]).map((each) => each.key);
  const keys = state.objects.map((each) => each.key);
  const present = keys.includes(choice.value) ? choice.value : changed.at(-1);
  const shown = changed.filter((key) => key.startsWith("chat-history/")).at(-1) ?? present; // the words tell more
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
  follow(byId("journal"), () => byId("lines").replaceChildren(...lines.map((line) => element("li", {}, element("code", {}, line)))));
}

function drawLog() {
  const lines = state.log.map(({ function: name, line }) =>
    element("li", { className: /\[(ERROR|CRITICAL)\]/.test(line) ? "bad" : "" }, element("b", {}, name), " ", element("code", {}, line)),
  );
  if (!lines.length) lines.push(element("li", {}, text("no_log")));
  follow(byId("log"), () => byId("log-lines").replaceChildren(...lines));
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
  const turn = ++settingsTurn;
  const settings = await ask("/api/settings");
  if (turn !== settingsTurn) return; // a later call draws them
  const usual = settings.filter((each) => USUAL.includes(each.name));
  usual.sort((one, other) => USUAL.indexOf(one.name) - USUAL.indexOf(other.name));
  const groups = [[text("usual_settings"), usual]];
  for (const name of new Set(settings.map((each) => each.functions.join(", ")))) {
    groups.push([name, settings.filter((each) => each.functions.join(", ") === name && !USUAL.includes(each.name))]);
  }
  const drawn = groups.filter(([, rows]) => rows.length);
  byId("settings-rows").replaceChildren(...drawn.map(([name, rows]) => element("fieldset", {}, element("legend", {}, name), ...rows.map(settingRow))));
}

/** A setting: its name, its field, what it means, and a place for what is wrong with it. */
function settingRow(setting) {
  const id = `${setting.functions[0]}-${setting.name}`;
  const field = fieldOf(setting);
  Object.assign(field.dataset, { functions: setting.functions.join(" "), name: setting.name, before: setting.value });
  field.setAttribute("aria-describedby", `${id}-meaning ${id}-wrong`);
  const notes = [meaningOf(setting)];
  if (setting.default && !setting.choices.length) notes.push(text("default_is", setting.default));
  if (setting.stand_in) notes.push(text("leads_to_stand_in"));
  const small = element("small", { id: `${id}-meaning` }, notes.join(text("full_stop")) + text("full_stop").trim());
  const wrong = element("small", { id: `${id}-wrong`, className: "wrong", hidden: true });
  return element("label", { className: "setting" }, element("code", {}, setting.name), field, small, wrong);
}

function fieldOf(setting) {
  if (setting.choices.length) {
    const options = setting.choices.map((each) => element("option", { value: each }, each));
    const field = element("select", {}, element("option", { value: "" }, text("default_is", setting.default)), ...options);
    if (setting.value && !setting.choices.includes(setting.value)) field.append(element("option", { value: setting.value }, setting.value));
    field.value = setting.value;
    return field;
  }
  if (LONG.includes(setting.name)) return element("textarea", { rows: 3, value: setting.value, spellcheck: false });
  const field = element("input", { type: "text", className: setting.secret ? "secret" : "", value: setting.value, autocomplete: "off", spellcheck: false });
  if (setting.secret) field.placeholder = setting.set ? text("secret_set") : "";
  return field;
}

/** The page's own text for the setting, or the one of the function or the document for a setting that it does not know. */
function meaningOf(setting) {
  if (SETTINGS[setting.name]) return SETTINGS[setting.name][language];
  return (setting.meaning[language ? "en" : "zh"] || setting.meaning.zh).replace(/[。.]$/, "");
}

function report(words) {
  byId("report").textContent = words;
  byId("report").hidden = !words;
  byId("report").scrollIntoView({ block: "nearest" });
}

async function applySettings() {
  await change((field) => (field.value === field.dataset.before ? undefined : field.value), "applied");
}

async function takeBack() {
  await change(() => null, "taken_back");
}

/** Give every setting the value that `valueOf` has for its field; undefined leaves it alone, null takes it back. */
async function change(valueOf, told) {
  const changes = {};
  for (const field of all("#settings-rows [data-name]")) {
    const value = valueOf(field);
    if (value === undefined) continue;
    for (const name of field.dataset.functions.split(" ")) (changes[name] ??= {})[field.dataset.name] = value;
  }
  await ask("/api/set", changes);
  await drawSettings();
  await selfCheck(text(told));
}

/** What both functions say about their settings: all of it below, and what is wrong with one beside its field. */
async function selfCheck(told = "") {
  report(`${told}${text("checking")}`);
  const found = await ask("/api/check", {});
  let problems = 0;
  for (const field of all("#settings-rows [data-name]")) {
    const functions = field.dataset.functions.split(" ");
    const reports = found.filter((each) => functions.includes(each.function));
    const problem = reports.map((each) => each.problems[field.dataset.name]).find(Boolean) || "";
    field.setAttribute("aria-invalid", String(Boolean(problem)));
    const wrong = byId(`${functions[0]}-${field.dataset.name}-wrong`);
    wrong.textContent = problem;
    wrong.hidden = !problem;
    if (problem && !problems++) field.closest(".setting").scrollIntoView({ block: "center" });
  }
  const result = problems ? text("check_found", problems) : text("check_fine");
  const words = [told + result, ...found.map((each) => `== ${each.function}\n${each.report}`)].join("\n\n");
  byId("report").textContent = words;
  byId("report").hidden = false;
  if (!problems) byId("report").scrollIntoView({ block: "nearest" });
}

// -- the whole page ----------------------------------------------------------------------------------------

function openTab(name) {
  for (const tab of all("#tabs [role=tab]")) {
    const open = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(open));
    tab.tabIndex = open ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).hidden = !open;
  }
  if (["journal", "log"].includes(name)) byId(name).scrollTop = byId(name).scrollHeight; // at the newest line
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
  const title = place === "group" ? `${text("group_name")} (${state.people.length + 1})` : "ChatGPT";
  byId("chat-title").textContent = title;
  byId("where").textContent = `${title} · ${nameOf(person)}`;
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
    return element("label", {}, field, avatar(nick), nameOf(nick), outsider);
  });
  byId("people").replaceChildren(...buttons);
}

/** On a narrow screen the chats and the people are behind a button. */
function openChats(open) {
  byId("where").setAttribute("aria-expanded", String(open));
  document.body.classList.toggle("chats-open", open);
}

function openExtras(open) {
  byId("more").setAttribute("aria-expanded", String(open));
  byId("composer").classList.toggle("open", open);
}

/** The language is kept for a reload, unless the browser keeps nothing. */
function remember(chosen) {
  try {
    localStorage.setItem("language", String(chosen));
  } catch {
    // it is asked for anew, then
  }
}

function remembered() {
  try {
    return localStorage.getItem("language");
  } catch {
    return null;
  }
}

function setLanguage(chosen) {
  language = chosen;
  remember(language);
  document.documentElement.lang = ["zh-CN", "en"][language];
  document.title = text("title");
  for (const each of all("[data-text]")) each.textContent = text(each.dataset.text);
  for (const each of all("[data-label]")) each.setAttribute("aria-label", text(each.dataset.label));
  for (const each of all("[data-title]")) each.title = text(each.dataset.title);
  byId("language").textContent = ["English", "中文"][language];
  byId("language").lang = ["en", "zh-CN"][language];
  if (!state) return;
  drawQuotation();
  drawPeople();
  drawKinds();
  showExamples(false);
  draw();
  attempt(drawSettings);
}

function draw() {
  byId("group-name").textContent = text("group_name");
  byId("model").textContent = text(state.real_model ? "real_model" : "stand_in_model");
  byId("again").disabled = !state.messages.some(here);
  drawChatChoice();
  drawBubbles();
  drawWorking();
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
      drawWorking(); // the time goes on
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
  // Enter also ends the choice of a Chinese word; Safari says so by 229 only
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  send();
};
byId("again").onclick = () =>
  attempt(async () => {
    selected = state.messages.filter(here).at(-1).number;
    await ask("/api/again", { number: selected });
    await refresh();
  });
byId("ten").onclick = () => send(10);
byId("unquote").onclick = () => setQuotation("");
byId("choose").onclick = () => byId("file").click();
byId("unchoose").onclick = () => {
  unchoose();
  byId("choose").focus();
};
byId("file").onchange = () => choose(byId("file").files[0]);
byId("chat").ondragover = (event) => {
  if (event.dataTransfer.types.includes("Files")) event.preventDefault(); // it can be dropped here
};
byId("chat").ondrop = (event) => {
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  choose(event.dataTransfer.files[0]);
};
byId("language").onclick = () => setLanguage(1 - language);
byId("start-over").onclick = () =>
  attempt(async () => {
    await ask("/api/start_over", {});
    selected = 0;
    byId("steps").dataset.message = "";
    await refresh();
    tellDone(text("started_over"));
  });
byId("problem").onclick = byId("done").onclick = (event) => { event.currentTarget.hidden = true; };
byId("where").onclick = () => openChats(!document.body.classList.contains("chats-open"));
byId("chats").onkeydown = (event) => {
  if (event.key !== "Escape") return;
  openChats(false);
  byId("where").focus();
};
byId("more").onclick = () => openExtras(byId("more").getAttribute("aria-expanded") === "false");
narrow.onchange = () => state && drawKinds();
byId("kind").onchange = () => setKind(byId("kind").value);
byId("newer").onclick = () => byId("bubbles").scrollTo(0, byId("bubbles").scrollHeight);
byId("bubbles").addEventListener("click", (event) => {
  const link = event.target.closest("[data-says]");
  if (!link) return;
  event.preventDefault();
  attempt(async () => {
    const said = { person, place, kind: "text", text: decodeURIComponent(link.dataset.says), language: ["zh", "en"][language] };
    await ask("/api/send", said);
    selected = 0;
    await refresh();
  });
});
byId("bubbles").onscroll = () => {
  const list = byId("bubbles");
  if (list.scrollHeight - list.scrollTop - list.clientHeight < 80) byId("newer").hidden = true;
};
byId("objects").onchange = () => attempt(drawObject);
byId("check").onclick = () => attempt(selfCheck);
byId("take-back").onclick = () => attempt(takeBack);
byId("show-examples").onclick = () => showExamples(byId("examples").hidden);
byId("bubbles").addEventListener("keydown", moveInBubbles);
byId("settings-form").onsubmit = (event) => {
  event.preventDefault();
  attempt(applySettings);
};
for (const link of all(".chat-link")) {
  link.onclick = () => {
    place = link.dataset.place;
    drawKinds();
    showExamples(false);
    draw();
    openChats(false);
    setView("chat");
  };
}
for (const tab of all("#tabs [role=tab]")) tab.onclick = () => openTab(tab.id.replace("tab-", ""));
for (const button of all(".views button")) button.onclick = () => setView(button.dataset.view);
arrows(byId("tabs"));

openTab("way");
setView("chat");
setLanguage(Number(remembered() ?? (navigator.language.startsWith("zh") ? 0 : 1)));
poll();
