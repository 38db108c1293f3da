// Asks the suite's package what its own command line does not print.
//
//   node suite.mjs PACKAGE list                 the tests' metadata, as JSON
//   node suite.mjs PACKAGE run BASE_URL ID...   results of these tests, one test at a time, as JSON
//
// (The package's export.mjs needs a development dependency that an installation does not have.)

import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const [directory, verb, baseUrl, ...ids] = process.argv.slice(2)
const root = resolve(directory)
const load = path => import(pathToFileURL(join(root, path)).href)

const suites = [
  ...(await load('tests/index.mjs')).default,
  (await load('tests/surrogate-control.mjs')).default
]

if (verb === 'list') {
  const tests = suites.flatMap(suite => suite.tests.map(test => ({
    id: test.id,
    name: test.name,
    suite: suite.id,
    kind: test.kind,
    depends_on: test.depends_on,
    browser_only: test.browser_only
  })))
  console.log(JSON.stringify(tests))
} else if (verb === 'run') {
  const { runTests, getResults } = await load('client/runner.mjs')
  const fetch = createRequire(join(root, 'package.json'))('node-fetch')
  const chosen = suites.map(suite => ({
    ...suite,
    tests: suite.tests.filter(test => ids.includes(test.id))
  }))
  await runTests(chosen, fetch, false, baseUrl, 1)
  console.log(JSON.stringify(getResults()))
} else {
  console.error(`unknown verb: ${verb}`)
  process.exitCode = 2
}
