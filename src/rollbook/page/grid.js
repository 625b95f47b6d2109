// A grid of cells with the keys of a spreadsheet. Only the rows in sight are in the document, so its length costs
// nothing. The focus stays on the grid, which names its active cell; a row that is scrolled away can't take it along.
import { html, useEffect, useId, useRef, useSignal } from "./html.js";
import { t } from "./words.js";

const ROW_HEIGHT = 40;
/** Rows beyond the edge of what is seen. */
const MARGIN = 8;
/** Rows that one paste or deletion may change: they are loaded for it, if they aren't in the browser yet. */
const MOST_ROWS = 2000;
/** How the clipboard of spreadsheet programs has a block of cells. */
const BREAKS = /\r\n|\n|\r/;

/** A block of cells as spreadsheet programs put it on the clipboard: a cell with breaks is in quotation marks. */
export function blockOf(text) {
  const rows = [[]];
  let cell = "";
  let isQuoted = false;
  const ends = text.replace(/(?:\r\n|\n|\r)$/, "");
  for (let n = 0; n < ends.length; n++) {
    const sign = ends[n];
    if (isQuoted) {
      if (sign !== '"') cell += sign;
      else if (ends[n + 1] === '"') cell += ends[++n];
      else isQuoted = false;
    } else if (sign === '"' && cell === "") isQuoted = true;
    else if (sign === "\t" || BREAKS.test(sign)) {
      if (sign === "\r" && ends[n + 1] === "\n") n++;
      rows.at(-1).push(cell);
      cell = "";
      if (sign !== "\t") rows.push([]);
    } else cell += sign;
  }
  rows.at(-1).push(cell);
  return rows;
}

const quoted = (text) => (/[\t\r\n"]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/**
 * `columns`: the headers. `total`: how many rows. `cell(row, column)`: {text, mark, isEdited, label} or null while it
 * is loaded. `head(row)`: {number, words, look}. `need(first, end)`: loads these rows, and gives a promise. `onEdit`: gets
 * [{row, column, value}] by place. `onLost(cells, rows)`: so many cells were not changed, since they are in no row of the
 * table, or beyond the `rows` that are changed at once. `onActive(row, column)`. `next(row, column, step)`: the place of the next cell to fix.
 */
export function Grid({ columns, total, cell, head, need, onEdit, onLost, onUndo, onRedo, onActive, next, label, hint }) {
  const id = useId();
  const box = useRef(null);
  const input = useRef(null);
  const first = useSignal(0);
  const height = useSignal(480);
  // The active cell, and the other corner of what is selected.
  const active = useSignal([0, 0]);
  const corner = useSignal(null);
  /** The text that is edited, or null. */
  const edited = useSignal(null);
  const mayLeave = useRef(false);
  const [row, column] = active.value;
  const inSight = Math.ceil(height.value / ROW_HEIGHT);
  const begin = Math.max(0, first.value - MARGIN);
  const end = Math.min(total, first.value + inSight + MARGIN);
  useEffect(() => {
    need(begin, end);
  }, [begin, end, total]);
  useEffect(() => onActive(row, column), [row, column, total]);
  useEffect(() => {
    const watching = new ResizeObserver(([entry]) => {
      height.value = entry.contentRect.height;
    });
    watching.observe(box.current);
    return () => watching.disconnect();
  }, []);
  useEffect(() => {
    if (row >= total && total) active.value = [total - 1, column];
  }, [total]);
  useEffect(() => {
    if (edited.value === null || !input.current || document.activeElement === input.current) return;
    input.current.focus();
    input.current.setSelectionRange(edited.value.length, edited.value.length);
  }, [edited.value === null]);

  function show(r, c) {
    const scroller = box.current;
    const headHeight = scroller.querySelector("[role=columnheader]").offsetHeight;
    const top = r * ROW_HEIGHT;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top + ROW_HEIGHT + headHeight > scroller.scrollTop + scroller.clientHeight)
      scroller.scrollTop = top + ROW_HEIGHT + headHeight - scroller.clientHeight;
    const title = scroller.querySelector(`[data-head="${c}"]`);
    const fixed = scroller.querySelector("[data-corner]").offsetWidth;
    if (title.offsetLeft - fixed < scroller.scrollLeft) scroller.scrollLeft = title.offsetLeft - fixed;
    else if (title.offsetLeft + title.offsetWidth > scroller.scrollLeft + scroller.clientWidth)
      scroller.scrollLeft = title.offsetLeft + title.offsetWidth - scroller.clientWidth;
  }

  function move(r, c, isExtending = false) {
    const to = [Math.min(Math.max(r, 0), total - 1), Math.min(Math.max(c, 0), columns.length - 1)];
    if (isExtending) corner.value ??= active.peek();
    else corner.value = null;
    active.value = to;
    show(...to);
  }

  const isThere = (r = row, c = column) => total > 0 && cell(r, c) !== null;

  function start(text) {
    if (!isThere()) return;
    corner.value = null;
    edited.value = text;
  }

  function commit(down = 0, right = 0) {
    const value = edited.peek();
    edited.value = null;
    box.current.focus({ preventScroll: true });
    if (value !== null && value !== cell(row, column)?.text) onEdit([{ row, column, value }]);
    move(row + down, column + right);
  }

  function cancel() {
    edited.value = null;
    box.current.focus({ preventScroll: true });
  }

  /** The selected block: first and last row, first and last column. */
  function block() {
    const [r, c] = corner.value ?? active.value;
    return [Math.min(r, row), Math.max(r, row), Math.min(c, column), Math.max(c, column)];
  }

  /** Give all selected cells a value. */
  function fill(value) {
    const [top, bottom, left, right] = block();
    const last = Math.min(bottom, top + MOST_ROWS - 1);
    const changes = [];
    for (let r = top; r <= last; r++) for (let c = left; c <= right; c++) changes.push({ row: r, column: c, value });
    change(changes, (bottom - last) * (right - left + 1));
  }

  /** Change cells; rows that aren't here yet are loaded first. What is not changed is said: those, and `lost` more. */
  async function change(changes, lost = 0) {
    const [top] = block();
    const wanted = changes.filter((place) => place.row < Math.min(total, top + MOST_ROWS) && place.column < columns.length);
    const missing = wanted.filter((place) => !isThere(place.row, place.column));
    if (missing.length) await need(missing[0].row, missing.at(-1).row + 1);
    const found = wanted.filter((place) => isThere(place.row, place.column));
    if (found.length) onEdit(found);
    const left = lost + changes.length - found.length;
    if (left) onLost(left, MOST_ROWS);
  }

  function inEditing(event) {
    const isShift = event.shiftKey;
    if (event.key === "Enter" && !event.altKey) commit(isShift ? -1 : 1);
    else if (event.key === "Tab") commit(0, isShift ? -1 : 1);
    else if (event.key === "Escape") cancel();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  function onKey(event) {
    if (edited.peek() !== null) {
      // The field is drawn a moment after the first key: what comes before that is not lost.
      if (event.target !== box.current) return;
      if (event.key.length === 1 && !event.ctrlKey && !event.metaKey) edited.value += event.key;
      else if (event.key === "Backspace") edited.value = edited.peek().slice(0, -1);
      else {
        inEditing(event);
        return;
      }
      event.preventDefault();
      return;
    }
    const { key, shiftKey: isShift } = event;
    const isControl = event.ctrlKey || event.metaKey;
    const page = Math.max(1, inSight - 2);
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], PageUp: [-page, 0], PageDown: [page, 0] };
    const wasLeaving = mayLeave.current;
    mayLeave.current = key === "Escape" || (wasLeaving && key === "Shift");
    if (event.altKey && (key === "ArrowDown" || key === "ArrowUp")) {
      const to = next(row, column, key === "ArrowDown" ? 1 : -1);
      if (to) move(...to);
    } else if (event.altKey) return;
    else if (key in steps) {
      const [down, right] = steps[key];
      if (isControl && key.startsWith("Arrow")) move(down ? (down > 0 ? total - 1 : 0) : row, right ? (right > 0 ? columns.length - 1 : 0) : column, isShift);
      else move(row + down, column + right, isShift);
    } else if (key === "Home") move(isControl ? 0 : row, 0, isShift);
    else if (key === "End") move(isControl ? total - 1 : row, columns.length - 1, isShift);
    else if (key === "Tab") {
      const place = row * columns.length + column + (isShift ? -1 : 1);
      if (wasLeaving || place < 0 || place >= total * columns.length) return;
      move(Math.floor(place / columns.length), place % columns.length);
    } else if (key === "Escape") corner.value = null;
    else if ((key === "Enter" || key === "F2") && !isControl) start(cell(row, column)?.text ?? "");
    else if (key === "Delete" || key === "Backspace") fill("");
    else if (isControl && key.toLowerCase() === "z") (isShift ? onRedo : onUndo)();
    else if (isControl && key.toLowerCase() === "y") onRedo();
    else if (isControl && key.toLowerCase() === "a") {
      corner.value = [0, 0];
      active.value = [total - 1, columns.length - 1];
    } else if (key.length === 1 && !isControl) start(key);
    else return;
    event.preventDefault();
  }

  function onCopy(event) {
    if (edited.peek() !== null || !total) return;
    const [top, bottom, left, right] = block();
    const lines = [];
    for (let r = top; r <= bottom; r++) {
      const texts = [];
      for (let c = left; c <= right; c++) texts.push(quoted(cell(r, c)?.text ?? ""));
      lines.push(texts.join("\t"));
    }
    event.clipboardData.setData("text/plain", lines.join("\n"));
    event.preventDefault();
  }

  function onPaste(event) {
    if (edited.peek() !== null || !total) return;
    event.preventDefault();
    const pasted = blockOf(event.clipboardData.getData("text/plain"));
    const [top, bottom, left, right] = block();
    // One cell fills all that is selected.
    if (pasted.length === 1 && pasted[0].length === 1) {
      fill(pasted[0][0]);
      return;
    }
    change(pasted.flatMap((texts, r) => texts.map((value, c) => ({ row: top + r, column: left + c, value }))));
    active.value = [top, left];
    corner.value = [
      Math.max(bottom, Math.min(top + pasted.length, total) - 1),
      Math.max(right, Math.min(left + pasted[0].length, columns.length) - 1),
    ];
  }

  function onClick(event) {
    const place = event.target.closest("[data-at]")?.dataset.at.split(" ").map(Number);
    if (!place || event.target === input.current) return;
    if (edited.peek() !== null) commit();
    const isAgain = place[0] === active.peek()[0] && place[1] === active.peek()[1];
    move(...place, event.shiftKey);
    // A second touch of a cell edits it, as a double click does.
    if (event.detail > 1 || (isAgain && event.pointerType === "touch")) {
      event.preventDefault();
      start(cell(...place)?.text ?? "");
    } else box.current.focus({ preventScroll: true });
  }

  const [top, bottom, left, right] = block();
  const isSelected = (r, c) => corner.value && r >= top && r <= bottom && c >= left && c <= right;
  const lines = [];
  for (let r = begin; r < end; r++) {
    const about = head(r);
    lines.push(html`<div key=${r} role="row" class="grid-row ${about?.look ?? ""}" aria-rowindex=${r + 2}
      style=${{ top: `${r * ROW_HEIGHT}px` }}>
      <div role="rowheader" class="grid-head" aria-colindex="1"><strong>${about ? String(about.number) : "…"}</strong>
        <small>${about?.words}</small></div>
      ${columns.map((_, c) => {
        const found = cell(r, c);
        const isActive = r === row && c === column;
        const isEditing = isActive && edited.value !== null;
        const look = `${found?.mark ?? ""}${found?.isEdited ? " edited" : ""}${isActive ? " active" : ""}${isSelected(r, c) ? " selected" : ""}`;
        return html`<div key=${c} id=${`${id}-${r}-${c}`} role="gridcell" class="grid-cell ${look}" data-at="${r} ${c}"
          aria-colindex=${c + 2} aria-selected=${isActive || isSelected(r, c) ? "true" : "false"}
          aria-invalid=${found?.mark === "error" ? "true" : undefined} title=${found?.label}>${
            isEditing
              ? html`<input ref=${input} value=${edited.value} aria-label=${columns[c]} autocomplete="off" spellcheck=${false}
                maxlength="2000" onKeyDown=${inEditing} onBlur=${() => edited.peek() !== null && commit()}
                onInput=${(event) => {
                  edited.value = event.target.value;
                }} />`
              : html`<span>${found ? found.text : ""}</span>${found?.label && html`<span class="unseen">, ${found.label}</span>`}`
          }</div>`;
      })}</div>`);
  }
  return html`<div class="grid" ref=${box} role="grid" tabindex="0" aria-label=${label} aria-describedby="${id}-hint"
      aria-rowcount=${total + 1} aria-colcount=${columns.length + 1} aria-multiselectable="true"
      aria-activedescendant=${total && edited.value === null ? `${id}-${row}-${column}` : undefined}
      onKeyDown=${onKey} onCopy=${onCopy} onPaste=${onPaste} onClick=${onClick}
      onScroll=${(event) => {
        const now = Math.floor(event.currentTarget.scrollTop / ROW_HEIGHT);
        if (now !== first.peek()) first.value = now;
      }}>
      <div role="row" class="grid-titles" aria-rowindex="1">
        <div role="columnheader" class="grid-head" data-corner aria-colindex="1">${t("fix.row")}</div>
        ${columns.map((name, c) => html`<div key=${c} role="columnheader" class="grid-title" data-head=${c} aria-colindex=${c + 2}>${name}</div>`)}
      </div>
      <div class="grid-body" role="presentation" style=${{ height: `${total * ROW_HEIGHT}px` }}>${lines}</div>
    </div><p class="hint" id="${id}-hint">${hint}</p>`;
}
