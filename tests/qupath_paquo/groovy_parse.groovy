/* Parses a script without resolving its classes, since QuPath's are not here; its first argument names the file. */
import org.codehaus.groovy.control.CompilationUnit
import org.codehaus.groovy.control.Phases

def unit = new CompilationUnit()
unit.addSource(new File(args[0]))
unit.compile(Phases.CONVERSION)
println 'parsed'
