'use strict';
// Labels that are wrong: chosen here, written as a file that `hardpan train --corrections` reads.
const selects = [...document.querySelectorAll('select.label')];
const save = document.getElementById('save');
function changed() { return selects.filter(s => s.value !== s.dataset.label); }
function quote(text) { return /[",\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text; }
for (const s of selects) s.onchange = () => {
  s.closest('.card').classList.toggle('changed', s.value !== s.dataset.label);
  // The same picture can be shown in two places.
  for (const t of selects) if (t !== s && t.dataset.file === s.dataset.file && t.value !== s.value) { t.value = s.value; t.onchange(); }
  save.textContent = `Save ${new Set(changed().map(t => t.dataset.file)).size} corrections`;
  save.disabled = changed().length === 0;
};
if (save) save.onclick = () => {
  const lines = new Map(changed().map(s => [s.dataset.file, s.value]));
  const text = 'file,label\n' + [...lines].map(([f, l]) => quote(f) + ',' + quote(l) + '\n').join('');
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'text/csv' }));
  link.download = 'corrections.csv';
  link.click();
  URL.revokeObjectURL(link.href);
};
const heat = document.getElementById('heat');
if (heat) heat.onchange = () => document.body.classList.toggle('heat', heat.checked);
