// The explorer in the browser. Requests go out one at a time; while one is answered, only the last of a kind waits, so
// that a later key overtakes an earlier one and the kernel is never busy for longer than one search.

const SLIDE_MS = 900;
const BUSY_MS = 1500;
const LOST_MS = 15000;
let views = 0;

function asBlobUrl(buffer, type) {
  return URL.createObjectURL(new Blob([buffer], { type }));
}

// One request at a time; of those of a kind that wait, the last.
function makeQueue(model, name, tell) {
  const waiting = new Map();
  let current = null;
  let count = 0;
  let timers = [];
  function next() {
    const [first] = waiting;
    if (current || !first) return;
    const [slot, [content, buffers]] = first;
    waiting.delete(slot);
    current = `${name}-${++count}`;
    timers = [
      setTimeout(() => tell("Working…"), BUSY_MS),
      setTimeout(() => tell("No answer yet: the kernel is busy with another cell, or gone."), LOST_MS),
    ];
    model.send({ ...content, id: current }, undefined, buffers);
  }
  return {
    ask(content, buffers = []) {
      const slot = content.kind === "mark" ? `mark ${content.video_id} ${content.frame_number}` : content.kind;
      waiting.delete(slot);
      waiting.set(slot, [content, buffers]);
      next();
    },
    done(id) {
      if (id !== current) return;
      timers.forEach(clearTimeout);
      current = null;
      tell("");
      next();
    },
    isMine: (id) => typeof id === "string" && id.startsWith(`${name}-`),
    stop: () => timers.forEach(clearTimeout),
  };
}

function makePlayer(root) {
  let url = null;
  let timer = null;
  function clear() {
    clearInterval(timer);
    if (url) [url].flat().forEach((each) => URL.revokeObjectURL(each));
    url = null;
    root.replaceChildren();
  }
  return {
    clear,
    clip(message, buffers, label) {
      clear();
      url = asBlobUrl(buffers[0], "video/mp4");
      const { begin_seconds: begin, stop_seconds: stop } = message;
      const video = h("video", { controls: true, loop: false, "aria-label": label, playsinline: "" });
      let isOver = false; // from then on the person decides
      video.addEventListener("loadedmetadata", () => {
        video.currentTime = begin;
        video.play().catch(() => { // a browser that wants a click first for sound
          video.muted = true;
          video.play().catch(() => {});
        });
      }, { once: true });
      video.addEventListener("timeupdate", () => {
        if (isOver || video.currentTime < stop) return;
        isOver = true;
        video.pause();
      });
      video.src = url;
      root.append(video);
    },
    slides(message, buffers, label) {
      clear();
      url = buffers.map((each) => asBlobUrl(each, "image/jpeg"));
      const image = h("img", { src: url[0], alt: label });
      const pictures = url;
      let place = 0;
      timer = setInterval(() => {
        place = (place + 1) % pictures.length;
        image.src = pictures[place];
      }, SLIDE_MS);
      root.append(image, h("p", { class: "note" }, message.sentence));
    },
  };
}

function makeTimeline(root, choose) {
  const draw = (tag, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };
  return (curve, moments, chosen, span) => {
    root.hidden = !curve;
    if (!curve) return;
    const { seconds, similarities } = curve;
    const end = Math.max(seconds.at(-1) ?? 0, ...moments.map((each) => each.end_seconds), 0.001);
    const [low, high] = [Math.min(...similarities), Math.max(...similarities)];
    const x = (s) => ((1000 * s) / end).toFixed(1);
    const y = (value) => (95 - (90 * (value - low)) / (high - low || 1)).toFixed(1);
    const svg = draw("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "group" });
    svg.setAttribute("aria-label", `Similarity over time, 0:00 to ${mmss(end)}, with ${moments.length} moments`);
    const points = seconds.map((s, place) => `${x(s)},${y(similarities[place])}`);
    svg.append(draw("polyline", { class: "curve", points: points.join(" ") }));
    const outside = [[0, span[0] ?? 0], [Math.min(span[1] ?? end, end), end]];
    for (const [low, high] of outside.filter(([low, high]) => low < high)) {
      svg.append(draw("rect", { class: "outside", x: x(low), y: 0, width: x(Math.min(high, end) - low), height: 100 }));
    }
    for (const moment of moments) {
      const width = Math.max(4, x(moment.end_seconds) - x(moment.start_seconds));
      const span = draw("rect", { class: "span", x: x(moment.start_seconds), y: 0, width, height: 100 });
      span.classList.toggle("chosen", moment === chosen);
      const title = draw("title", {});
      title.textContent = `${moment.rank}: ${moment.times}`;
      span.append(title);
      span.addEventListener("click", () => choose(moment));
      svg.append(span);
    }
    const about = moments[0]?.title ?? "";
    const axis = h("div", { class: "axis" }, h("span", {}, "0:00"), h("span", {}, about), h("span", {}, mmss(end)));
    root.replaceChildren(svg, axis);
  };
}

// Keys stay here, but those that JupyterLab should have (Ctrl+S) go on to it.
function keepKeys(event) {
  const isCommand = event.ctrlKey || event.metaKey || event.altKey;
  const isEditing = /^[acvxzy]$/i.test(event.key) && event.target.matches("input");
  if (!isCommand || isEditing) event.stopPropagation();
}

function makeCard(moment, url, act) {
  const parts = [`${moment.rank}. ${moment.title}, ${moment.times}`, moment.sentence].filter(Boolean);
  const pick = h("button", { class: "pick", type: "button", "aria-label": `${parts.join(". ")}. Play`, onclick: () => act.choose(moment) },
    h("img", { src: url, alt: "" }), h("b", {}, moment.times), h("span", { class: "title", title: moment.title }, moment.title));
  const mark = (name, label, right) => h("button", {
    type: "button", "data-mark": name, "aria-pressed": String(moment.mark === right), tabindex: "-1",
    "aria-label": `${label}: moment ${moment.rank}`, onclick: () => act.mark(moment, right),
  }, label);
  const more = h("button", { type: "button", tabindex: "-1", "aria-label": `More like moment ${moment.rank}`, onclick: () => act.like(moment) }, "Like it");
  const state = moment.mark === null ? "" : moment.mark ? "right" : "wrong";
  return h("li", { class: state }, pick, h("div", { class: "sentence" }, moment.sentence),
    h("div", { class: "marks" }, mark("right", "Right", true), mark("wrong", "Wrong", false), more));
}

function render({ model, el }) {
  let state = { moments: [], curve: null, chosen: null, urls: [], span: [] };
  let timer = null;
  const [status, error] = [h("p", { class: "status", role: "status" }), h("p", { class: "error", role: "alert", hidden: true })];
  error.id = `videolib-error-${Date.now()}-${views}`;
  const [notes, list] = [h("div", {}), h("ul", { class: "moments", "aria-label": "Moments" })];
  const [screen, line] = [h("div", { class: "player" }), h("div", { hidden: true })];
  const busy = h("span", { class: "note" });
  const queue = makeQueue(model, `v${Date.now()}-${++views}`, (text) => (busy.textContent = text));
  const search = (delay) => {
    clearTimeout(timer);
    timer = setTimeout(() => queue.ask({ kind: "search", changes: fields.changes() }), delay);
  };
  const fields = makeFields(search, queue);
  const player = makePlayer(screen);
  const key = ({ video_id, frame_number }) => ({ video_id, frame_number });
  const act = {
    choose(moment) {
      choose(moment);
      queue.ask({ kind: "play", ...key(moment) });
      if (state.curve?.video_id !== moment.video_id) queue.ask({ kind: "curve", video_id: moment.video_id });
    },
    mark: (moment, right) => queue.ask({ kind: "mark", ...key(moment), right: moment.mark === right ? null : right }),
    like: (moment) => queue.ask({ kind: "like", ...key(moment) }),
  };
  const timeline = makeTimeline(line, act.choose);
  const drawTimeline = () => {
    const own = state.moments.filter((each) => each.video_id === state.curve?.video_id);
    timeline(state.curve, own, state.chosen, state.span);
  };
  function choose(moment) {
    state.chosen = moment;
    [...list.children].forEach((card, place) => card.classList.toggle("chosen", state.moments[place] === moment));
    drawTimeline();
  }
  const receive = {
    videos: (message) => fields.setVideos(message.videos),
    done: (message) => queue.done(message.id),
    error(message) {
      error.hidden = false;
      error.textContent = message.text;
      fields.setWrong(message.text, error.id);
    },
    answer(message, buffers) {
      const place = [...list.children].findIndex((card) => card.contains(document.activeElement));
      const control = place < 0 ? -1 : [...list.children[place].querySelectorAll("button")].indexOf(document.activeElement);
      const was = state.chosen;
      const isTyped = queue.isMine(message.id) && root.dataset.ready;
      root.hidden = false;
      hide.textContent = `.videolib-static-${message.model_id} { display: none; }`;
      root.dataset.ready = "yes";
      root.dataset.answers = String(Number(root.dataset.answers ?? 0) + 1);
      if (!isTyped) fields.set(message.asked);
      error.hidden = true;
      fields.setWrong("", error.id);
      state.urls.forEach((url) => URL.revokeObjectURL(url));
      const urls = buffers.map((each) => asBlobUrl(each, "image/jpeg"));
      fields.setPicture(message.asked.has_image ? urls[0] : null);
      const pictures = urls.slice(message.asked.has_image ? 1 : 0);
      const same = message.moments.find((each) => was && each.video_id === was.video_id && each.frame_number === was.frame_number);
      state = { moments: message.moments, curve: message.moments.length ? state.curve : null, chosen: same ?? null, urls, span: [message.asked.start_seconds, message.asked.end_seconds] };
      if (!same) player.clear();
      list.replaceChildren(...message.moments.map((moment, n) => makeCard(moment, pictures[n], act)));
      const forget = h("button", { type: "button", onclick: () => queue.ask({ kind: "forget" }) }, `Forget ${message.mark_count} mark${message.mark_count === 1 ? "" : "s"}`);
      status.replaceChildren(message.summary, " ", ...(message.mark_count ? [forget, " "] : []), busy);
      notes.replaceChildren(...message.notes.map((note) => h("p", { class: "note" }, note)));
      choose(state.chosen);
      if (place >= 0) list.children[Math.min(place, list.children.length - 1)]?.querySelectorAll("button")[control]?.focus();
    },
    curve(message) {
      const own = state.chosen ?? state.moments[0];
      if (own?.video_id !== message.video_id) return;
      state.curve = message;
      drawTimeline();
    },
    clip: (message, buffers) => play(message, buffers, player.clip),
    slides: (message, buffers) => play(message, buffers, player.slides),
  };
  function play(message, buffers, show) {
    if (!queue.isMine(message.id)) return; // another view of the same explorer asked
    const { chosen } = state;
    const isChosen = chosen?.video_id === message.video_id && chosen.frame_number === message.frame_number;
    if (isChosen) show(message, buffers, `${chosen.title}, ${chosen.times}`);
  }
  function onKey(event) {
    keepKeys(event);
    const cards = [...list.children];
    const place = cards.findIndex((card) => card.contains(event.target));
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (place < 0) {
      if (event.key === "ArrowDown" && event.target.matches("input[type=search]")) cards[0]?.querySelector(".pick").focus();
      return;
    }
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const moment = state.moments[place];
    if (step) cards[place + step]?.querySelector(".pick").focus();
    else if (event.key === "r") act.mark(moment, true);
    else if (event.key === "w") act.mark(moment, false);
    else if (event.key === "l") act.like(moment);
    else if (event.key === "ArrowUp" || event.key === "Escape") fields.root.querySelector("input").focus();
    else return;
    event.preventDefault();
  }
  const hint = h("p", { class: "note" }, "Keys: ↓ to the moments, ← → between them, Enter plays, r right, w wrong, l like it, Esc back.");
  const root = h("div", { class: "videolib", hidden: true, role: "region", "aria-label": "Explore videos", onkeydown: onKey },
    fields.root, status, error, notes, list, screen, line, hint);
  const hide = document.createElement("style"); // of the static answer, while a kernel answers
  for (const name of ["dragover", "dragleave", "drop"]) {
    root.addEventListener(name, (event) => {
      event.preventDefault();
      event.stopPropagation(); // JupyterLab would take the file
      root.classList.toggle("drop", name === "dragover");
      if (name === "drop" && event.dataTransfer.files.length) fields.sendPicture(event.dataTransfer.files[0]);
    });
  }
  el.append(hide, root);
  const onMessage = (message, buffers) => receive[message.kind]?.(message, buffers);
  model.on("msg:custom", onMessage);
  queue.ask({ kind: "hello" });
  return () => {
    model.off("msg:custom", onMessage);
    queue.stop();
    clearTimeout(timer);
    player.clear();
    state.urls.forEach((url) => URL.revokeObjectURL(url));
  };
}

export default { render };
