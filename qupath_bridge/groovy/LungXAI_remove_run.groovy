/*
 * LungXAI: remove a run from the image. What was drawn by hand stays.
 *
 * Arguments: run=NAME
 * Research use only, not a diagnosis. Settings: LungXAI.properties, see docs/qupath_scripts.md.
 */
import qupath.lib.scripting.QP
import qupath.lib.scripting.ScriptAttributes

// Scripts cannot import each other: the shared files are looked for beside this one, and where scripts lie otherwise.
def folders = [System.getenv('LUNGXAI_GROOVY')]
if (binding.hasVariable(ScriptAttributes.FILE_PATH))
    folders << new File(binding.getVariable(ScriptAttributes.FILE_PATH) as String).parent
if (QP.getProject() != null)
    folders << QP.buildFilePath(QP.PROJECT_BASE_DIR, 'scripts')
try {
    def directories = Class.forName('qupath.lib.gui.UserDirectoryManager', true, getClass().classLoader)
    def own = directories.getInstance().getScriptsDirectoryPath()
    folders += own == null ? [] : [own.toString(), own.resolve('LungXAI').toString()]
} catch (ClassNotFoundException fault) {
    println 'LungXAI: this QuPath has no folder of its own for scripts.'
}
def folder = folders.findAll { it }.collect { new File(it) }.find { new File(it, 'LungXAIQuPath.groovy').isFile() }
if (folder == null)
    throw new RuntimeException('LungXAI.groovy and LungXAIQuPath.groovy were not found. Put all LungXAI files into ' +
        'one folder, such as "scripts" of the project, or name it in LUNGXAI_GROOVY. Looked into: ' +
        folders.findAll { it }.join(', '))
def loader = new GroovyClassLoader(getClass().classLoader)
loader.parseClass(new File(folder, 'LungXAI.groovy'))
def shared = loader.parseClass(new File(folder, 'LungXAIQuPath.groovy'))
def words = binding.hasVariable('args') && args != null ? args as List<String> : []

shared.run('LungXAI: remove a run', folder, words) { lungxai ->
    def run = lungxai.chosenRun().getMetadata().get('LungXAI run')
    println 'LungXAI: ' + lungxai.remove(run) + ' objects of run ' + run + ' removed. Save the image to keep it so.'
}
