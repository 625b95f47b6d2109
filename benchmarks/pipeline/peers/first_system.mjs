// The first system's method: SheetJS, a SELECT and an INSERT or UPDATE for each row in one
// transaction, and a report of seven sheets by exceljs.
//
// Each library is used as its own introduction shows it. With the word "tuned" as the last argument
// it is used in the quickest way that its documentation has: SheetJS with dense rows, statements
// that are prepared once, and exceljs's streaming writer.

import ExcelJS from 'exceljs'
import pg from 'pg'
import XLSX from 'xlsx'

const HEADERS = {
  idnumber: 'id_number', firstname: 'firstname', surname: 'surname', cellnumber: 'cell_number',
  landlinenumber: 'landline_number', email: 'email', residentialaddress: 'residential_address',
  race: 'race', language: 'language', occupation: 'occupation', qualification: 'qualification',
  province: 'province', region: 'region', municipality: 'municipality', ward: 'ward',
  votingstation: 'voting_station', votingdistrict: 'voting_district', datejoined: 'date_joined',
  lastpayment: 'last_payment', expirydate: 'expiry_date', subscription: 'subscription',
  memebershipamount: 'membership_amount', status: 'status'
}
const PROVINCES = {
  'EASTERN CAPE': 'EC', 'FREE STATE': 'FS', GAUTENG: 'GP', 'KWAZULU-NATAL': 'KZN',
  'KWAZULU NATAL': 'KZN', LIMPOPO: 'LP', MPUMALANGA: 'MP', 'NORTH WEST': 'NW',
  'NORTHERN CAPE': 'NC', 'WESTERN CAPE': 'WC'
}
const FIELDS = [...Object.values(HEADERS), 'date_of_birth', 'gender', 'citizenship']
const ADDED = [
  'IEC Registered', 'IEC Ward', 'IEC VD Code', 'Already Exists', 'Existing Member Name',
  'Existing Ward', 'Existing VD', 'Outcome', 'Problems'
]
const FILLS = {
  inserted: 'FFE2F0D9', updated: 'FFDDEBF7', invalid: 'FFF8CBAD', duplicate: 'FFFFE699'
}
const PLACES = {
  inserted: 'New Members', updated: 'Existing Members (Updated)', invalid: 'Invalid IDs',
  duplicate: 'Duplicates'
}

function luhn (number) {
  let total = 0
  for (let place = 0; place < 13; place++) {
    let digit = Number(number[12 - place])
    if (place % 2) digit = digit > 4 ? digit * 2 - 9 : digit * 2
    total += digit
  }
  return total % 10 === 0
}

function birthDate (number) {
  const [yy, mm, dd] = [0, 2, 4].map((at) => Number(number.slice(at, at + 2)))
  const now = new Date()
  const year = 2000 + yy > now.getUTCFullYear() ? 1900 + yy : 2000 + yy
  const date = new Date(Date.UTC(year, mm - 1, dd))
  if (date > now) date.setUTCFullYear(year - 100)
  return date.getUTCMonth() === mm - 1 && date.getUTCDate() === dd
    ? date.toISOString().slice(0, 10)
    : null
}

const isValid = (number) => /^\d{13}$/.test(number) && '01'.includes(number[10]) &&
  birthDate(number) !== null && luhn(number)

function date (cell) {
  if (cell instanceof Date) return new Date(cell.getTime() + 43200000).toISOString().slice(0, 10)
  const text = String(cell).trim()
  if (/^\d+$/.test(text)) {
    return new Date(Date.UTC(1899, 11, 30 + Number(text))).toISOString().slice(0, 10)
  }
  const found = text.match(/^(\d\d)\/(\d\d)\/(\d{4})$/)
  if (found) return `${found[3]}-${found[2]}-${found[1]}`
  return /^\d{4}-\d\d-\d\d$/.test(text) ? text : null
}

function phone (text) {
  let digits = text.replace(/\D/g, '')
  if (digits.startsWith('27') && digits.length === 11) digits = digits.slice(2)
  digits = digits.replace(/^0+/, '')
  return digits.length === 9 ? `+27${digits}` : null
}

// The member of a row, or a text that says why it is refused.
function clean (row, columns) {
  const member = Object.fromEntries(FIELDS.map((field) => [field, null]))
  for (const [index, field] of columns) {
    const cell = row[index]
    if (cell === undefined || cell === null) continue
    const text = cell instanceof Date ? cell : String(cell).trim()
    if (text === '') continue
    if (['date_joined', 'last_payment', 'expiry_date'].includes(field)) member[field] = date(cell)
    else if (['cell_number', 'landline_number'].includes(field)) member[field] = phone(text)
    else if (field === 'email') member[field] = text.toLowerCase()
    else if (field === 'province') member[field] = PROVINCES[text.toUpperCase()] ?? text
    else if (field === 'membership_amount') {
      member[field] = text.replace(/[R ]/g, '').replace(',', '.')
    } else member[field] = text
  }
  let number = (member.id_number ?? '').replace(/[ -]/g, '')
  if (/^\d{10,12}$/.test(number) && isValid(number.padStart(13, '0'))) {
    number = number.padStart(13, '0')
  }
  if (!isValid(number)) return 'ID number missing or wrong'
  if (!member.surname || !member.firstname) return 'name missing'
  member.id_number = number
  member.date_of_birth = birthDate(number)
  member.gender = number[6] < '5' ? 'female' : 'male'
  member.citizenship = number[10] === '0' ? 'citizen' : 'permanent resident'
  return member
}

const SELECT = 'SELECT firstname, surname, ward, voting_district FROM plain_members ' +
  'WHERE id_number = $1'
const INSERT = `INSERT INTO plain_members (${FIELDS.join(', ')}) ` +
  `VALUES (${FIELDS.map((_, index) => `$${index + 1}`).join(', ')})`
const UPDATE = 'UPDATE plain_members SET ' +
  FIELDS.slice(1).map((field, index) => `${field} = $${index + 2}`).join(', ') +
  ' WHERE id_number = $1'

async function merge (rows, columns, isTuned) {
  const named = (name, text, values) => isTuned ? { name, text, values } : { text, values }
  const client = new pg.Client()
  await client.connect()
  const seen = new Set()
  const results = []
  await client.query('BEGIN')
  for (const row of rows) {
    const member = clean(row, columns)
    if (typeof member === 'string') {
      results.push({ outcome: 'invalid', problem: member })
      continue
    }
    if (seen.has(member.id_number)) {
      results.push({ outcome: 'duplicate' })
      continue
    }
    seen.add(member.id_number)
    const found = await client.query(named('look', SELECT, [member.id_number]))
    const existing = found.rows[0]
    const values = FIELDS.map((field) => member[field])
    await client.query(
      existing ? named('update', UPDATE, values) : named('insert', INSERT, values))
    results.push({ outcome: existing ? 'updated' : 'inserted', existing })
  }
  await client.query('COMMIT')
  await client.end()
  return results
}

async function report (path, headers, rows, results, isTuned) {
  const book = isTuned
    ? new ExcelJS.stream.xlsx.WorkbookWriter({ filename: path, useStyles: true })
    : new ExcelJS.Workbook()
  // What the streaming writer has been told of is written at once, and forgotten.
  const commit = (part) => isTuned && part.commit()
  const summary = book.addWorksheet('Summary')
  const titles = ['Row', ...headers, ...ADDED]
  const sheets = {}
  for (const name of [
    'All Uploaded Rows', 'Invalid IDs', 'Duplicates', 'Not Registered Voters', 'New Members',
    'Existing Members (Updated)'
  ]) {
    const sheet = book.addWorksheet(name, { views: [{ state: 'frozen', ySplit: 1 }] })
    sheet.columns = titles.map((header) => ({ header: String(header), width: 16 }))
    sheet.autoFilter = { from: { row: 1, column: 1 }, to: { row: 1, column: titles.length } }
    sheet.getRow(1).font = { bold: true }
    commit(sheet.getRow(1))
    sheets[name] = sheet
  }
  const fills = Object.fromEntries(Object.entries(FILLS).map(([outcome, argb]) =>
    [outcome, { type: 'pattern', pattern: 'solid', fgColor: { argb } }]))
  const counts = { inserted: 0, updated: 0, invalid: 0, duplicate: 0 }
  rows.forEach((row, index) => {
    const { outcome, existing, problem } = results[index]
    counts[outcome]++
    const cells = [index + 2]
    for (let column = 0; column < headers.length; column++) cells.push(row[column])
    cells.push('not asked', null, null, existing ? 'Yes' : 'No',
      existing ? `${existing.firstname} ${existing.surname}` : null, existing?.ward,
      existing?.voting_district, outcome, problem)
    for (const name of ['All Uploaded Rows', PLACES[outcome]]) {
      const line = sheets[name].addRow(cells)
      for (let column = 1; column <= titles.length; column++) {
        line.getCell(column).fill = fills[outcome]
      }
      commit(line)
    }
  })
  for (const [outcome, count] of Object.entries(counts)) commit(summary.addRow([outcome, count]))
  await (isTuned ? book.commit() : book.xlsx.writeFile(path))
  return counts
}

const [source, target, how] = process.argv.slice(2)
const isTuned = how === 'tuned'
const times = [performance.now()]
const book = XLSX.readFile(source, { cellDates: true, dense: isTuned })
const [headers, ...rows] = XLSX.utils.sheet_to_json(book.Sheets[book.SheetNames[0]], { header: 1 })
times.push(performance.now())
const columns = headers.map((header, index) =>
  [index, HEADERS[String(header).toLowerCase().replace(/[^a-z0-9]/g, '')]]).filter(([, f]) => f)
const results = await merge(rows, columns, isTuned)
times.push(performance.now())
const outcomes = await report(target, headers, rows, results, isTuned)
times.push(performance.now())
const [read, merging, reporting] = times.slice(1).map((time, index) =>
  Math.round(time - times[index]) / 1000)
const stages = { read, 'validate and merge': merging, report: reporting }
process.stdout.write(JSON.stringify({ stages, outcomes }))
