"use strict";
// Zoom, move and read the timelines. Without this script they are still whole pictures with titles on their boxes.
(() => {
  const tip = document.getElementById("tip");
  const words = new WeakMap();
  const MOST = 2000; // times enlarged

  function timeline(root) {
    const svg = root.querySelector("svg.lanes");
    const plot = Number(svg.dataset.plot), gutter = Number(svg.dataset.gutter), duration = Number(svg.dataset.ms);
    const number = (element, name) => Number(element.getAttribute(name));
    const boxes = [...svg.querySelectorAll(".boxes rect")].map((box) => [box, number(box, "x"), number(box, "width")]);
    const lines = [...svg.querySelectorAll(".boxes line, .arrows line")].map((line) => [line, number(line, "x1"), number(line, "x2")]);
    const paths = [...svg.querySelectorAll("polyline")].map((path) => [path, path.getAttribute("points").split(" ").map((point) => point.split(","))]);
    const floating = [...svg.querySelectorAll(".floating text")].map((text) => [text, number(text, "x")]);
    const ticks = svg.querySelector(".ticks"), scale = svg.querySelector(".scale");
    const low = ticks.firstElementChild?.getAttribute("d").split("V")[1] ?? 0, base = scale.firstElementChild?.getAttribute("y") ?? 0;
    let zoom = 1, left = 0, frame = 0; // left: what lies at the plot's left edge, in pixels of the whole page

    // the browser's own titles would cover ours
    for (const title of svg.querySelectorAll("title")) {
      words.set(title.parentNode, title.textContent);
      title.remove();
    }

    const at = (x) => (x - left) * zoom;

    function draw() {
      frame = 0;
      for (const [box, x, width] of boxes) {
        const x1 = at(x), x2 = at(x + width), seen = x2 > 0 && x1 < plot;
        box.style.display = seen ? "" : "none"; // what is not seen costs nothing
        if (!seen) continue;
        const from = Math.max(x1, -20); // a hatch far outside would be drawn for nothing
        box.setAttribute("x", from);
        box.setAttribute("width", Math.min(x2, plot + 20) - from);
      }
      for (const [line, from, to] of lines) {
        const x1 = at(from), x2 = at(to), seen = x2 > -50 && x1 < plot + 50;
        line.style.display = seen ? "" : "none";
        if (seen) { line.setAttribute("x1", x1); line.setAttribute("x2", x2); }
      }
      for (const [path, points] of paths) path.setAttribute("points", points.map(([x, y]) => `${at(x).toFixed(2)},${y}`).join(" "));
      for (const [text, x] of floating) text.setAttribute("x", at(x));
      axis();
    }

    function axis() {
      if (!(duration > 0)) return;
      const shown = duration / zoom, start = left / plot * duration;
      let step = 1e-6;
      for (let grow = [2, 2.5, 2], i = 0; shown / step > 10; i++) step *= grow[i % 3];
      const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
      ticks.replaceChildren();
      scale.replaceChildren();
      const last = Math.floor((start + shown) / step + 1e-9);
      for (let n = Math.ceil(start / step - 1e-9); n <= last; n++) {
        const x = at(n * step / duration * plot);
        ticks.append(make("path", { class: "rule", d: `M${x} 22V${low}` }));
        const text = make("text", { x, y: base, "text-anchor": "middle" });
        text.textContent = (n * step).toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }) + (n === last ? " ms" : "");
        scale.append(text);
      }
    }

    function make(name, attributes) {
      const element = document.createElementNS(svg.namespaceURI, name);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      return element;
    }

    function show(newZoom, newLeft) {
      zoom = Math.min(MOST, Math.max(1, newZoom));
      left = Math.min(plot - plot / zoom, Math.max(0, newLeft));
      frame ||= requestAnimationFrame(draw);
    }

    // enlarge around a point of the plot, which stays where it is
    const zoomAt = (factor, x) => {
      const target = Math.min(MOST, Math.max(1, zoom * factor));
      show(target, left + x / zoom - x / target);
    };

    const place = (event) => {
      const bounds = svg.getBoundingClientRect();
      return (event.clientX - bounds.left) / bounds.width * svg.viewBox.baseVal.width - gutter;
    };

    let grabbed = null;
    svg.addEventListener("pointerdown", (event) => {
      if (event.button === 0 && event.pointerType !== "touch") grabbed = place(event);
    });
    addEventListener("pointermove", (event) => {
      if (grabbed === null) return;
      const now = place(event);
      svg.classList.add("drag");
      show(zoom, left - (now - grabbed) / zoom);
      grabbed = now;
    });
    addEventListener("pointerup", () => { grabbed = null; svg.classList.remove("drag"); });
    svg.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // else the wheel scrolls the page
      event.preventDefault();
      zoomAt(Math.exp(-event.deltaY / 250), place(event));
    }, { passive: false });
    svg.addEventListener("keydown", (event) => {
      const move = plot / zoom / 8;
      const does = { "+": () => zoomAt(1.5, plot / 2), "=": () => zoomAt(1.5, plot / 2), "-": () => zoomAt(1 / 1.5, plot / 2), "0": () => show(1, 0), ArrowLeft: () => show(zoom, left - move), ArrowRight: () => show(zoom, left + move) }[event.key];
      if (does && !event.ctrlKey && !event.metaKey) { event.preventDefault(); does(); }
    });
    root.querySelector(".tools").addEventListener("click", (event) => {
      const does = { in: () => zoomAt(2, plot / 2), out: () => zoomAt(0.5, plot / 2), all: () => show(1, 0) }[event.target.dataset?.do];
      if (does) does();
    });
    svg.addEventListener("pointermove", (event) => {
      const text = words.get(event.target);
      tip.hidden = !text;
      if (!text) return;
      tip.textContent = text;
      tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
      tip.style.top = `${event.clientY + 18 + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 10 : event.clientY + 18}px`;
    });
    svg.addEventListener("pointerleave", () => { tip.hidden = true; });
    root.querySelector(".tools").hidden = false;
    svg.classList.add("ready");
  }

  document.querySelectorAll(".timeline").forEach(timeline);
  // a print shows what lies behind closed titles too
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.dataset.was = one.open; one.open = true; }));
  addEventListener("afterprint", () => document.querySelectorAll("details").forEach((one) => { one.open = one.dataset.was === "true"; }));
})();
