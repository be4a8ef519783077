"""A kind of import-linter contract: certain modules import nothing but what is named.

import-linter's own kinds say what must not be imported; a law such as "the domain imports only the standard
library" needs the opposite. Only direct imports count: each link of a chain is somebody's direct import.
"""

import sys

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from importlinter.domain.helpers import module_expressions_to_modules
from importlinter.domain.imports import ModuleExpression

STANDARD_LIBRARY = "the standard library"
THIRD_PARTY = "third party"


class OnlyContract(Contract):
    """Checks that the importers, with all that lies below them, import only what `may_import` names.

    importers         modules or wildcard expressions
    except_importers  modules below them for which the law does not hold (optional)
    may_import        modules (with all that lies below them), "the standard library", "third party"
    never             exceptions to `may_import` (optional)
    """

    type_name = "only"

    importers: set[ModuleExpression] = fields.SetField(subfield=fields.ModuleExpressionField())  # type: ignore[assignment]
    except_importers: set[ModuleExpression] = fields.SetField(  # type: ignore[assignment]
        subfield=fields.ModuleExpressionField(), required=False, default=set()
    )
    may_import: set[str] = fields.SetField(subfield=fields.StringField())  # type: ignore[assignment]
    never: set[str] = fields.SetField(subfield=fields.StringField(), required=False, default=set())  # type: ignore[assignment]

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 - import-linter's signature
        """Looks at each direct import of each importer; the broken ones are kept for the report."""
        importers = self._names(graph, self.importers) - self._names(graph, self.except_importers)
        broken = [
            (importer, imported)
            for importer in sorted(importers)
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
            if imported not in importers and not self._is_allowed(imported, graph)
        ]
        lines = [
            f"{importer} -> {imported} (line {detail['line_number']}): {detail['line_contents']}"
            for importer, imported in broken
            for detail in graph.get_import_details(importer=importer, imported=imported)
        ]
        return ContractCheck(kept=not lines, metadata={"lines": lines})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Prints each import that the law does not allow."""
        for line in check.metadata["lines"]:
            output.print_error(line, bold=False)
        output.new_line()

    def _is_allowed(self, imported: str, graph: ImportGraph) -> bool:
        if _is_below_any(imported, self.never):
            return False
        if _is_below_any(imported, self.may_import):
            return True
        if not graph.is_module_squashed(imported):
            return False
        is_standard = imported.partition(".")[0] in sys.stdlib_module_names
        return (STANDARD_LIBRARY if is_standard else THIRD_PARTY) in self.may_import

    @staticmethod
    def _names(graph: ImportGraph, expressions: set[ModuleExpression]) -> set[str]:
        roots = {module.name for module in module_expressions_to_modules(graph, expressions)} & graph.modules
        return roots.union(*(graph.find_descendants(root) for root in roots))


def _is_below_any(module: str, names: set[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)
