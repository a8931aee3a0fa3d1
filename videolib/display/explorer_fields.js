// What the explorer asks: its fields, and what is in them. explorer.js comes after it in one module.

const DEBOUNCE_MS = 20; // keys that come at once, as a held one; requests go out one at a time anyway
const NUMBER_DEBOUNCE_MS = 400; // 1, 12 and 120 are not the same seconds

function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && typeof value !== "string") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function mmss(seconds) {
  const [s, m, hours] = [seconds % 60, (seconds / 60) % 60, seconds / 3600].map(Math.floor);
  const two = (n) => String(n).padStart(2, "0");
  return hours ? `${hours}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

// Which videos are searched: a list of boxes that opens, none ticked for all of them.
function makeVideoChoice(changed) {
  const summary = h("summary", {}, "All videos");
  const boxes = h("div", { class: "boxes", role: "group", "aria-label": "Videos to search, none for all" });
  const details = h("details", {}, summary, boxes);
  let ids = []; // what is chosen, in Python also before the list is here
  const show = () => {
    const one = ids.length === 1 && boxes.querySelector(`[value="${CSS.escape(ids[0])}"]`);
    const text = !ids.length ? "All videos" : one ? one.parentElement.textContent : `${ids.length} video${ids.length === 1 ? "" : "s"}`;
    summary.textContent = text;
    summary.setAttribute("aria-label", `In: ${text}`);
    boxes.querySelectorAll("input").forEach((box) => (box.checked = ids.includes(box.value)));
  };
  boxes.addEventListener("change", () => {
    const shown = [...boxes.querySelectorAll("input")];
    const unseen = ids.filter((id) => !shown.some((box) => box.value === id)); // at another sampling, from Python
    ids = [...unseen, ...shown.filter((box) => box.checked).map((box) => box.value)];
    show();
    changed();
  });
  details.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !details.open) return;
    details.open = false;
    summary.focus();
    event.preventDefault();
  });
  details.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !details.contains(event.relatedTarget)) details.open = false;
  });
  return {
    root: h("div", { class: "choice some" }, h("span", { "aria-hidden": "true" }, "In"), details),
    chosen: () => (ids.length > 1 ? ids : ids[0] ?? null),
    choose(videos) {
      ids = [videos ?? []].flat();
      show();
    },
    list(videos) {
      const box = ({ video_id, title }) => h("label", {}, h("input", { type: "checkbox", value: video_id }), title);
      boxes.replaceChildren(...videos.map(box));
      show();
    },
  };
}

function makeFields(search, queue) {
  const field = (name, label, input, kind) => {
    input.setAttribute("data-field", name);
    return h("label", { class: kind }, label, input);
  };
  const text = h("input", { type: "search", placeholder: "a red car in the city", autocomplete: "off" });
  const without = h("input", { type: "search", placeholder: "something red", autocomplete: "off" });
  const videos = makeVideoChoice(() => search(0));
  const [from, to] = ["start", "end"].map((placeholder) => h("input", { type: "number", min: "0", step: "any", placeholder }));
  const k = h("input", { type: "number", min: "1", max: "50" });
  const file = h("input", { type: "file", accept: "image/*,.heic" });
  const weight = h("input", { type: "range", min: "0", max: "1", step: "0.05" });
  const picture = h("div", { class: "asked-picture", hidden: true });
  const balance = field("weight", "Picture ↔ text", weight, "some");
  const typing = [text, without, weight, k];
  typing.forEach((each) => each.addEventListener("input", () => search(DEBOUNCE_MS)));
  [from, to].forEach((each) => each.addEventListener("input", () => search(NUMBER_DEBOUNCE_MS)));
  file.addEventListener("change", () => file.files[0] && sendPicture(file.files[0]));
  async function sendPicture(chosen) {
    queue.ask({ kind: "picture" }, [await chosen.arrayBuffer()]);
    file.value = "";
  }
  const root = h("div", { class: "fields", role: "search" },
    field("query_text", "Look for", text, "wide"), field("without_text", "Without", without, "some"),
    videos.root,
    field("start_seconds", "From (s)", from, "few"), field("end_seconds", "Up to (s)", to, "few"), field("k", "How many", k, "few"),
    field("query_image", "Like a picture (or drop one)", file, "some"), balance, picture);
  const seconds = (input) => (input.value === "" ? null : Number(input.value));
  return {
    root, sendPicture,
    changes() {
      const count = Number.parseInt(k.value, 10);
      return {
        query_text: text.value, without_text: without.value, weight: Number(weight.value),
        video_id: videos.chosen(), start_seconds: seconds(from), end_seconds: seconds(to),
        ...(count > 0 ? { k: count } : {}),
      };
    },
    set(asked) {
      [text.value, without.value, weight.value, k.value] = [asked.query_text, asked.without_text, asked.weight, asked.k];
      [from.value, to.value] = [asked.start_seconds ?? "", asked.end_seconds ?? ""];
      videos.choose(asked.video_id);
    },
    setVideos: videos.list,
    // The field that an error names, for those who do not see where it stands.
    setWrong(text, id) {
      for (const input of root.querySelectorAll("[data-field]")) {
        const isWrong = text.includes(input.dataset.field);
        input.setAttribute("aria-invalid", String(isWrong));
        if (isWrong) input.setAttribute("aria-describedby", id);
        else input.removeAttribute("aria-describedby");
      }
    },
    setPicture(url) {
      picture.hidden = balance.hidden = !url;
      const remove = h("button", { type: "button", onclick: () => queue.ask({ kind: "picture" }) }, "Without the picture");
      picture.replaceChildren(...(url ? [h("img", { src: url, alt: "The picture that is searched by" }), remove] : []));
    },
  };
}
